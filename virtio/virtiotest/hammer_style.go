package virtiotest

// style is what the requests on a ring look like. Devices give up a queue whose
// requests they cannot even answer, and then the rest of a batch never reaches them;
// so the hammer finds out which style gets furthest, and uses it most.
type style int

const (
	anything     style = iota
	statusAtEnd        // with a last byte for the status
	writableOnly       // buffers for what comes in
	readableOnly       // data that goes out
	answerAtEnd        // one seed as a whole, and room for any answer
	numStyles
)

// score is how a style has done on a queue.
type score struct{ made, broken uint64 }

// choose picks a style for queue n: mostly the one with the fewest breaks for its
// requests.
func (h *hammer) choose(n int) style {
	if h.rnd.IntN(8) == 0 {
		return style(h.rnd.IntN(int(numStyles)))
	}
	best := anything
	for s := range numStyles {
		a, b := &h.styles[n][s], &h.styles[n][best]
		if (a.broken+1)*(b.made+1) < (b.broken+1)*(a.made+1) {
			best = s
		}
	}
	return best
}

// judge puts down which rings broke since the last time.
func (h *hammer) judge() {
	for n, c := range h.d.Core.Counters() {
		if c.Errors > h.errors[n] && n < len(h.rings) {
			h.styles[n][h.rings[n].style].broken++
		}
		h.errors[n] = c.Errors
	}
}
