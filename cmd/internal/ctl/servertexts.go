package ctl

import (
	"encoding/json"
	"regexp"
	"slices"
	"sort"
	"strings"
)

// serverTexts translates the sentences of controllers: English with {places} to the same in another language. What it does not know stays English.
type serverTexts struct{ patterns []serverPattern }

type serverPattern struct {
	match  *regexp.Regexp
	names  []string
	target string
}

var place = regexp.MustCompile(`\{[a-z]+\}`)

func newServerTexts(language string) *serverTexts {
	text, err := messageFiles.ReadFile("messages/server." + language + ".json")
	if err != nil {
		return &serverTexts{}
	}
	var table map[string]string
	if err := json.Unmarshal(text, &table); err != nil {
		panic(err) // it is embedded, and a test reads it
	}
	sources := make([]string, 0, len(table))
	for source := range table {
		sources = append(sources, source)
	}
	// The more literal text, the earlier: a general pattern must not hide a special one.
	literal := func(source string) int { return len(place.ReplaceAllString(source, "")) }
	sort.Slice(sources, func(i, j int) bool {
		if a, b := literal(sources[i]), literal(sources[j]); a != b {
			return a > b
		}
		return sources[i] < sources[j]
	})
	result := &serverTexts{}
	for _, source := range sources {
		var expression strings.Builder
		var names []string
		last := 0
		for _, at := range place.FindAllStringIndex(source, -1) {
			name := source[at[0]:at[1]]
			expression.WriteString(regexp.QuoteMeta(source[last:at[0]]))
			if slices.Contains(numeric, name) {
				expression.WriteString("([-0-9.]+)")
			} else {
				expression.WriteString("(.*?)")
			}
			names = append(names, name)
			last = at[1]
		}
		expression.WriteString(regexp.QuoteMeta(source[last:]))
		result.patterns = append(result.patterns, serverPattern{regexp.MustCompile(`^(?s:` + expression.String() + `)$`), names, table[source]})
	}
	return result
}

// translated are the places whose value is a word of ours; names and numbers stay as they are.
var translated = map[string]bool{"{kind}": true, "{other}": true, "{reason}": true, "{resource}": true, "{verb}": true, "{cause}": true}

// numeric are the places of numbers.
var numeric = []string{"{n}", "{m}", "{low}", "{high}"}

// fieldInFront is the path of a field before what is wrong with it.
var fieldInFront = regexp.MustCompile(`^([a-zA-Z][a-zA-Z0-9.-]*): (?s:(.+))$`)

// translate finds the sentence; several sentences, or a field before a colon, are translated part by part.
func (s *serverTexts) translate(text string) string { return s.part(text, 3) }

func (s *serverTexts) part(text string, depth int) string {
	bare := strings.TrimSuffix(text, ".")
	for _, pattern := range s.patterns {
		found := pattern.match.FindStringSubmatch(bare)
		if found == nil {
			continue
		}
		pairs := make([]string, 0, 2*len(pattern.names))
		for i, name := range pattern.names {
			value := found[i+1]
			if depth > 0 && translated[name] {
				value = s.part(value, depth-1)
			}
			pairs = append(pairs, name, value)
		}
		return strings.NewReplacer(pairs...).Replace(pattern.target) + text[len(bare):]
	}
	if depth == 0 {
		return text
	}
	if found := fieldInFront.FindStringSubmatch(text); found != nil {
		return found[1] + ": " + s.part(found[2], depth-1)
	}
	for _, separator := range []string{". ", "; ", ": "} {
		parts := strings.Split(text, separator)
		if len(parts) == 1 {
			continue
		}
		for i, part := range parts {
			parts[i] = s.part(part, depth-1)
		}
		return strings.Join(parts, separator)
	}
	return text
}
