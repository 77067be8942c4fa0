//go:build !race

package jail

const raceBuild = false
