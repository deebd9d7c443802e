package ctl

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// This file reads and writes sizes, spans and moments.

const (
	mebibyte = int64(1) << 20
	gibibyte = int64(1) << 30
	tebibyte = int64(1) << 40
)

// sizeValue is a flag like 20, 20GiB, 1TiB or 512MiB. Its amount counts units of unit bytes.
type sizeValue struct {
	app    *app
	unit   int64 // bytes
	amount int64
}

func (v *sizeValue) Type() string { return "size" }

func (v *sizeValue) String() string {
	if v.amount == 0 {
		return ""
	}
	return strconv.FormatInt(v.amount, 10)
}

func (v *sizeValue) Set(text string) error {
	amount, err := parseSize(text, v.unit)
	if err != nil {
		return v.app.usage("error.size", "Value", text)
	}
	v.amount = amount
	return nil
}

var sizeUnits = []struct {
	suffix string
	bytes  int64
}{{"mib", mebibyte}, {"gib", gibibyte}, {"tib", tebibyte}, {"mb", mebibyte}, {"gb", gibibyte}, {"tb", tebibyte}, {"m", mebibyte}, {"g", gibibyte}, {"t", tebibyte}}

// parseSize reads a whole number of units; text without a suffix is in units already.
func parseSize(text string, unit int64) (int64, error) {
	number, factor := strings.ToLower(strings.TrimSpace(text)), unit
	for _, candidate := range sizeUnits {
		if rest, found := strings.CutSuffix(number, candidate.suffix); found {
			number, factor = strings.TrimSpace(rest), candidate.bytes
			break
		}
	}
	value, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return 0, err
	}
	if value < 0 || factor > unit && value > math.MaxInt64/(factor/unit) {
		return 0, strconv.ErrRange
	}
	if factor >= unit {
		return value * (factor / unit), nil
	}
	if value%(unit/factor) != 0 {
		return 0, fmt.Errorf("%s is no whole number of units", text)
	}
	return value / (unit / factor), nil
}

// number writes an integer for tables.
func number(n int64) string { return strconv.FormatInt(n, 10) }

// ratio writes a factor for tables.
func ratio(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// bytesText writes bytes for people.
func bytesText(n int64) string {
	switch {
	case n <= 0:
		return ""
	case n >= gibibyte:
		return strconv.FormatFloat(float64(n)/float64(gibibyte), 'f', 1, 64) + " GiB"
	case n >= mebibyte:
		return strconv.FormatFloat(float64(n)/float64(mebibyte), 'f', 1, 64) + " MiB"
	}
	return strconv.FormatFloat(float64(n)/1024, 'f', 1, 64) + " KiB"
}

// memoryText writes MiB for people.
func memoryText(mib int64) string {
	if mib > 0 && mib%1024 == 0 {
		return number(mib/1024) + " GiB"
	}
	return number(mib) + " MiB"
}

func stamp(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format(time.RFC3339)
}

// moment writes a time in the user's zone.
func (a *app) moment(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.Local().Format("2006-01-02 15:04:05 -07:00")
}

// age writes how long ago something was, in one unit.
func (a *app) age(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return a.span(a.now().Sub(at))
}

func (a *app) span(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < 2*time.Minute:
		return a.T("age.seconds", "N", int(d/time.Second))
	case d < 2*time.Hour:
		return a.T("age.minutes", "N", int(d/time.Minute))
	case d < 48*time.Hour:
		return a.T("age.hours", "N", int(d/time.Hour))
	}
	return a.T("age.days", "N", int(d/(24*time.Hour)))
}
