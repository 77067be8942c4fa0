package crash

import (
	"os"
	"testing"
	"time"
)

func TestKVMCrash(t *testing.T) {
	host, _ := os.Hostname()
	if host != "lab" {
		t.Fatal("this test is for the lab: it crashes its host")
	}
	if err := os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Minute)
}
