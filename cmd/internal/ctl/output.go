package ctl

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf16"

	"github.com/itchyny/gojq"
	"sigs.k8s.io/yaml"
)

// Forms of output.
const (
	formTable = "table"
	formWide  = "wide"
	formJSON  = "json"
	formYAML  = "yaml"
	formCSV   = "csv"
	formName  = "name"
)

var forms = []string{formTable, formWide, formJSON, formYAML, formCSV, formName}

// result is what a command has found out.
type result struct {
	data  any           // for json, yaml and --jq
	sheet func() *sheet // for table, wide and csv
	names []string      // for name
	one   bool          // a table shows it as lines of heading and value
}

// forPeople says whether the output is read by people: then progress may be shown.
func (a *app) forPeople() bool {
	return a.flags.jq == "" && (a.flags.output == formTable || a.flags.output == formWide)
}

func (a *app) print(r result) error {
	if a.flags.jq != "" {
		return a.query(r.data)
	}
	switch a.flags.output {
	case formJSON:
		text, err := toJSON(r.data, "  ")
		if err != nil {
			return err
		}
		return a.write(string(text))
	case formYAML:
		// By way of JSON, where what could command a terminal is escaped already: YAML refuses to read it bare.
		text, err := toJSON(r.data, "")
		if err == nil {
			text, err = yaml.JSONToYAML(text)
		}
		if err != nil {
			return err
		}
		return a.write(string(text))
	case formName:
		var lines strings.Builder
		for _, name := range r.names {
			lines.WriteString(plain(name) + "\n")
		}
		return a.write(lines.String())
	case formCSV:
		return a.printCSV(r.sheet())
	}
	drawn := r.sheet()
	switch {
	case r.one:
		return a.write(a.drawOne(drawn))
	case len(drawn.rows) == 0:
		a.notice(a.T("list.empty"))
		return nil
	}
	return a.write(a.draw(drawn, a.flags.output == formWide))
}

func (a *app) write(text string) error {
	_, err := io.WriteString(a.out, text)
	return err
}

// notice tells people something that is no data.
func (a *app) notice(line string) {
	if a.screen.errs && a.forPeople() {
		if a.env("TERM") != "dumb" {
			line = "\r\x1b[K" + line // the step line may stand there
		}
		fmt.Fprintln(a.errs, line)
	}
}

// writeCSV writes one line of CSV.
func (a *app) writeCSV(parts []string) error {
	for i := range parts {
		parts[i] = plain(parts[i])
	}
	writer := csv.NewWriter(a.out)
	if err := writer.Write(parts); err != nil {
		return err
	}
	writer.Flush()
	return writer.Error()
}

func (a *app) printCSV(s *sheet) error {
	writer := csv.NewWriter(a.out)
	var header []string
	for _, column := range s.columns {
		if column.level != detailOnly {
			header = append(header, column.key)
		}
	}
	if err := writer.Write(header); err != nil {
		return err
	}
	for _, row := range s.rows {
		line := make([]string, 0, len(header))
		for i, column := range s.columns {
			if column.level != detailOnly {
				line = append(line, plain(row[i].machine))
			}
		}
		if err := writer.Write(line); err != nil {
			return err
		}
	}
	writer.Flush()
	return writer.Error()
}

// toJSON encodes for programs and terminals alike: what could command a terminal is escaped, which JSON allows inside strings.
func toJSON(data any, indent string) ([]byte, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", indent)
	if err := encoder.Encode(data); err != nil {
		return nil, err
	}
	text := buffer.String()
	var safe bytes.Buffer
	for _, r := range text {
		switch {
		case r == '\n' || !deceives(r):
			safe.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&safe, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&safe, `\u%04x`, r)
		}
	}
	return safe.Bytes(), nil
}

// query applies the --jq expression. Strings are printed bare, everything else as JSON, a result a line.
func (a *app) query(data any) error {
	expression, err := gojq.Parse(a.flags.jq)
	if err != nil {
		return a.usage("error.jq", "Expression", a.flags.jq, "Cause", err)
	}
	code, err := gojq.Compile(expression)
	if err != nil {
		return a.usage("error.jq", "Expression", a.flags.jq, "Cause", err)
	}
	text, err := json.Marshal(data)
	if err != nil {
		return err
	}
	var input any
	if err := json.Unmarshal(text, &input); err != nil {
		return err
	}
	for results := code.Run(input); ; {
		value, more := results.Next()
		if !more {
			return nil
		}
		if err, failed := value.(error); failed {
			return a.failure("error.jq", "Expression", a.flags.jq, "Cause", err)
		}
		line, isText := value.(string)
		if !isText {
			compact, err := toJSON(value, "")
			if err != nil {
				return err
			}
			line = strings.TrimSuffix(string(compact), "\n")
		} else if a.screen.out {
			line = plain(line)
		}
		if err := a.write(line + "\n"); err != nil {
			return err
		}
	}
}
