// Package good is covered by half.
package good

// Half returns one of two values.
func Half(x bool) int {
	if x {
		return 1
	}
	return 2
}
