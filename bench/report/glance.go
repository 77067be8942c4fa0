package report

import (
	"fmt"
	"math"
	"slices"

	"github.com/gureum/gureum/bench/result"
)

// glance says how many times the base's a subject's figures of a group are: the geometric
// mean of their ratios, those of figures of which more is better turned round.
type glance struct {
	Group   string // "" for a line of the group of the line before
	Subject string
	Colour  int
	Ratio   string
	Figures string
	Bar     float64 // in percent of the group's longest
}

func atAGlance(groups []group, colour map[string]int) []glance {
	var all []glance
	for _, g := range groups {
		ratios, counts := map[string]float64{}, map[string]int{}
		base, longest := "", 1.0
		for _, s := range g.Subjects {
			mean, n, to := g.mean(s)
			if n > 0 {
				ratios[s], counts[s], base = mean, n, to
				longest = max(longest, mean)
			}
		}
		name := g.Name
		for _, s := range g.Subjects {
			ratio, has := ratios[s]
			if s == base {
				ratio = 1
			} else if !has {
				continue
			}
			line := glance{Group: name, Subject: s, Colour: colour[s], Ratio: "×" + digits(ratio), Bar: 100 * ratio / longest}
			line.Figures = fmt.Sprintf("of %s, %s", base, figuresWords(counts[s]))
			if s == base {
				line.Ratio, line.Figures = "×1", "the base"
			}
			all, name = append(all, line), ""
		}
	}
	return all
}

func figuresWords(n int) string {
	if n == 1 {
		return "1 figure"
	}
	return fmt.Sprintf("%d figures", n)
}

// mean is a subject's, of how many figures, and to which base. Figures that are not judged and
// those of nothing are not in it.
func (g *group) mean(subject string) (ratio float64, figures int, base string) {
	sum := 0.0
	for _, f := range g.Figures {
		if f.Better == result.Neither {
			continue
		}
		for _, c := range f.Cases {
			i := slices.IndexFunc(c.Entries, func(e entry) bool { return e.Subject == subject })
			if i < 0 || c.Entries[i].Ratio == nil || c.Entries[i].Ratio.Ratio <= 0 {
				continue
			}
			turn := 1.0
			if f.Better == result.Higher {
				turn = -1
			}
			sum, figures, base = sum+turn*math.Log(c.Entries[i].Ratio.Ratio), figures+1, c.Base
		}
	}
	return math.Exp(sum / float64(max(figures, 1))), figures, base
}
