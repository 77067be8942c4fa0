package plain

import "testing"

func TestPlain(t *testing.T) { t.Error("has no place in this suite") }
