package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	benchreport "github.com/gureum/gureum/bench/report"
	"github.com/gureum/gureum/bench/result"
	"github.com/gureum/gureum/bench/suite"
)

// benchFiles are those that results are written to, "" for none.
type benchFiles struct{ json, csv, html string }

func (o *benchFiles) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.json, "json", "", "write the results with all samples to this `FILE`")
	f.StringVar(&o.html, "html", "", "write a page with plots of the results to this `FILE`")
	f.StringVar(&o.csv, "csv", "", "write a row for each sample to this `FILE`")
}

// check refuses files that could not be written, as it may take a while until they are.
func (o *benchFiles) check() error {
	for _, f := range o.files(nil) {
		if dir := filepath.Dir(f.path); f.path != "" && unix.Access(dir, unix.W_OK) != nil {
			return fmt.Errorf("%s: %s is no folder that can be written to", f.flag, dir)
		}
	}
	return nil
}

func (o *benchFiles) write(r *result.Report) error {
	var errs []error
	for _, f := range o.files(r) {
		if f.path != "" {
			errs = append(errs, writeFile(f.path, f.write))
		}
	}
	return errors.Join(errs...)
}

// outFile is one that a flag asks for, "" for none.
type outFile struct {
	flag, path string
	write      func(io.Writer) error
}

func (o *benchFiles) files(r *result.Report) []outFile {
	what := map[string]string{}
	names, words := suite.Groups()
	for i, name := range names {
		what[name] = words[i]
	}
	return []outFile{
		{"json", o.json, func(w io.Writer) error { return printJSON(w, r) }},
		{"html", o.html, func(w io.Writer) error { return benchreport.HTML(w, r, what) }},
		{"csv", o.csv, func(w io.Writer) error { return benchreport.CSV(w, r) }},
	}
}

// writeFile writes a file that is there as a whole or not at all. What is no regular file, as
// /dev/stdout, is written to.
func writeFile(path string, write func(io.Writer) error) (err error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(write(f), f.Close())
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w", path, errors.Join(err, os.Remove(f.Name())))
		}
	}()
	if err := errors.Join(write(f), f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
