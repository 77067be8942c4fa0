package vmm

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		began := time.Now()
		r := newRest(func() { at = append(at, time.Since(began)) })
		time.Sleep(time.Second)
		r.disturbed()
		time.Sleep(5 * time.Second)
		r.disturbed()
		time.Sleep(time.Hour)
		synctest.Wait()
		want := []time.Duration{3 * time.Second, 8 * time.Second, 18 * time.Second, 78 * time.Second}
		if !slices.Equal(at, want) {
			t.Errorf("memory is given back at %v, want %v", at, want)
		}
		r.disturbed()
		r.end()
		r.disturbed()
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(at) != len(want) {
			t.Errorf("it is given back after the end: %v", at)
		}
	})
}
