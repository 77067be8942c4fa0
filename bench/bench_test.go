package bench

import (
	"io"
	"os/exec"
	"testing"
	"time"
)

func TestMeasureBoot(t *testing.T) {
	echo, err := exec.LookPath("echo")
	if err != nil {
		t.Fatal(err)
	}
	boots, err := MeasureBoot(t.Context(), []Contestant{{Name: "a", Args: []string{echo, "gureum-bench up 0.25"}}}, 3, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if boots[0].Guest != 250*time.Millisecond || boots[0].Total <= 0 || boots[0].Runs != 3 {
		t.Errorf("boots: %+v", boots)
	}
	if _, err := MeasureBoot(t.Context(), []Contestant{{Name: "b", Args: []string{echo, "nothing"}}}, 1, io.Discard); err == nil {
		t.Error("a guest that did not come up was counted")
	}
	peers := []Contestant{{Name: "a", Args: []string{echo, "gureum-bench up 1"}}, {Name: "peer", Peer: true, Args: []string{"false"}}}
	if boots, err := MeasureBoot(t.Context(), peers, 2, io.Discard); err != nil || len(boots) != 1 || boots[0].Name != "a" {
		t.Errorf("with a peer that fails: %+v, %v", boots, err)
	}
	if _, err := MeasureBoot(t.Context(), []Contestant{{Name: "c", Args: []string{"false"}}}, 1, io.Discard); err == nil {
		t.Error("a VMM that failed was counted")
	}
}
