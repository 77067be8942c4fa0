package tap

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestValidateName(t *testing.T) {
	for name, ok := range map[string]bool{
		"": false, "tap0": true, "a/b": false, "..": false, "with space": false,
		"fifteencharactr": true, "sixteencharacter": false, "vm%d": true, "a:b": false,
	} {
		if err := ValidateName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestOpenChecksFirst(t *testing.T) {
	for _, cfg := range []Config{{Name: "a/b"}, {Name: "gurtest", Queues: -1}, {Name: "gurtest", Queues: MaxQueues + 1}} {
		if tap, err := Open(cfg); err == nil {
			t.Errorf("%+v: no error", cfg)
			_ = tap.Close()
		}
	}
}
