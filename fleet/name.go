package fleet

import (
	"math/rand/v2"
	"strconv"
)

// Words that names of machines are made of: what the sky is like, and what is in it.
var (
	weathers = [...]string{
		"amber", "blue", "bright", "calm", "clear", "cool", "crisp", "dewy", "dim", "dry", "early", "fair", "fine", "foggy", "fresh", "frosty",
		"gentle", "golden", "grey", "hazy", "high", "late", "light", "low", "mild", "misty", "pale", "quiet", "rainy", "silver", "still", "sunny",
	}
	skies = [...]string{
		"breeze", "cirrus", "cloud", "comet", "crane", "cumulus", "dawn", "drizzle", "dusk", "eagle", "falcon", "finch", "gale", "heron", "kite", "lark",
		"magpie", "meteor", "mist", "moon", "nimbus", "owl", "rain", "raven", "robin", "snow", "sparrow", "star", "stork", "stratus", "swift", "wind",
	}
)

// newName makes a name that is not taken.
func newName(taken map[string]bool) string {
	for n := 0; ; n++ {
		name := weathers[rand.IntN(len(weathers))] + "-" + skies[rand.IntN(len(skies))]
		if n > 4 { // most of them are taken
			name += "-" + strconv.Itoa(rand.IntN(100*n))
		}
		if !taken[name] {
			return name
		}
	}
}
