package report

import (
	"encoding/csv"
	"io"
	"strconv"

	"github.com/gureum/gureum/bench/result"
)

// csvColumns are in the order of the file. They are added to at the end, not renamed.
var csvColumns = []string{"group", "figure", "case", "subject", "unit", "better", "clock", "run", "value"}

// CSV writes a row for each sample, after a row with the columns' names (RFC 4180). Numbers are
// not rounded; runs count from 1.
func CSV(w io.Writer, r *result.Report) error {
	out := csv.NewWriter(w)
	if err := out.Write(csvColumns); err != nil {
		return err
	}
	for _, s := range r.Series {
		for i, v := range s.Samples {
			row := []string{
				s.Group, s.Figure, s.Case, s.Subject, s.Unit, string(s.Better), r.Clock,
				strconv.Itoa(i + 1), strconv.FormatFloat(v, 'g', -1, 64),
			}
			if err := out.Write(row); err != nil {
				return err
			}
		}
	}
	out.Flush()
	return out.Error()
}
