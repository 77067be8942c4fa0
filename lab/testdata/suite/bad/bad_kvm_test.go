package bad

import (
	"fmt"
	"testing"
)

func TestKVMBad(t *testing.T) {
	fmt.Println("printed")
	t.Error("wrong")
}
