package ctl

import (
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// A sheet is a list or an object before it is drawn: for people (table, wide) or for programs (csv).
type sheet struct {
	columns []heading
	rows    [][]cell
}

type heading struct {
	key   string // of the catalogue (column.<key>), and the name in CSV
	level level
	whole bool // never cut off: somebody will want to copy it
}

type cell struct {
	machine string // never translated
	human   string
	colour  string
}

// level says where a column is shown.
type level int

const (
	always     level = iota
	ifRoom           // dropped when the table is too wide, from the right
	wideOnly         // with -o wide, and in CSV
	detailOnly       // when one object is shown
)

const (
	gap         = 2
	minColumn   = 8
	enough      = 20 // columns that a text which can be cut off may claim
	plainScreen = 80 // what a table is chosen for when there is no terminal
)

// draw writes the sheet as a table. width 0 cuts nothing off.
func (a *app) draw(s *sheet, wide bool) string {
	width := a.screen.width
	cut := width > 0
	if width == 0 {
		width = plainScreen
	}
	shown := s.pick(a, wide, width)
	limits := make([]int, len(shown))
	if cut && !wide {
		limits = s.squeeze(a, shown, width)
	}
	writer := table.NewWriter()
	writer.SetStyle(table.Style{Box: table.BoxStyle{PaddingRight: strings.Repeat(" ", gap)}, Options: table.OptionsNoBordersAndSeparators})
	header := make(table.Row, len(shown))
	for i, index := range shown {
		header[i] = clip(a.headingText(s.columns[index].key), limits[i])
	}
	writer.AppendHeader(header)
	for _, row := range s.rows {
		cells := make(table.Row, len(shown))
		for i, index := range shown {
			cells[i] = a.screen.paint(row[index].colour, clip(row[index].human, limits[i]))
		}
		writer.AppendRow(cells)
	}
	lines := strings.Split(writer.Render(), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " ")
	}
	return strings.Join(lines, "\n") + "\n"
}

func (a *app) headingText(key string) string { return strings.ToUpper(a.T("column." + key)) }

// pick chooses the columns that are shown.
func (s *sheet) pick(a *app, wide bool, width int) []int {
	var shown []int
	for i, column := range s.columns {
		if column.level <= ifRoom || wide && column.level == wideOnly {
			shown = append(shown, i)
		}
	}
	if wide {
		return shown
	}
	for {
		total, victim := -gap, -1
		for i, index := range shown {
			// A long text that can be cut off must not drive out other columns.
			wanted := s.natural(a, index)
			if !s.columns[index].whole {
				wanted = min(wanted, enough)
			}
			total += wanted + gap
			if s.columns[index].level == ifRoom {
				victim = i
			}
		}
		if total <= width || victim < 0 {
			return shown
		}
		shown = append(shown[:victim:victim], shown[victim+1:]...)
	}
}

func (s *sheet) natural(a *app, index int) int {
	width := text.StringWidth(a.headingText(s.columns[index].key))
	for _, row := range s.rows {
		width = max(width, text.StringWidth(row[index].human))
	}
	return width
}

// squeeze finds the widths that make the table fit: the widest column that may be cut gives way first.
func (s *sheet) squeeze(a *app, shown []int, width int) []int {
	limits, total := make([]int, len(shown)), -gap
	for i, index := range shown {
		limits[i] = s.natural(a, index)
		total += limits[i] + gap
	}
	for total > width {
		widest := -1
		for i, index := range shown {
			if !s.columns[index].whole && limits[i] > minColumn && (widest < 0 || limits[i] > limits[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		limits[widest]--
		total--
	}
	return limits
}

// clip cuts text to a width in columns; 0 leaves it.
func clip(line string, width int) string {
	if width <= 0 || text.StringWidth(line) <= width {
		return line
	}
	return text.Trim(line, width-1) + "…"
}

// drawOne writes one object as lines of heading and value.
func (a *app) drawOne(s *sheet) string {
	widest := 0
	for _, column := range s.columns {
		widest = max(widest, text.StringWidth(a.T("column."+column.key)))
	}
	var result strings.Builder
	for i, column := range s.columns {
		value := s.rows[0][i]
		if value.human == "" {
			continue
		}
		label := a.T("column." + column.key)
		result.WriteString(a.screen.paint(bold, label+":") + strings.Repeat(" ", widest-text.StringWidth(label)+gap) +
			a.screen.paint(value.colour, value.human) + "\n")
	}
	return result.String()
}
