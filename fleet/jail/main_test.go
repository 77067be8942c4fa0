package jail

import (
	"os"
	"testing"
)

// envRole makes the test program a process that enters a jail.
const envRole = "GUREUM_JAIL_TEST"

func TestMain(m *testing.M) {
	switch os.Getenv(envRole) {
	case "":
		os.Exit(m.Run())
	case roleAttack:
		os.Exit(attackerMain())
	case roleMachine:
		os.Exit(machineMain())
	}
	os.Exit(99)
}

// The roles.
const (
	roleAttack  = "attack"
	roleMachine = "machine"
)
