package ctl

import (
	"embed"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/nicksnyder/go-i18n/v2/i18n"
	"golang.org/x/text/language"
)

// Everything that people read is in messages/<language>.json, under a key that says where it is used. server.vi.json holds what
// controllers say, which is English, with its translation.

//go:embed messages/*.json
var messageFiles embed.FS

const (
	english    = "en"
	vietnamese = "vi"
)

// languageOf is the language that the environment asks for.
func languageOf(env func(string) string) string {
	for _, name := range []string{"COLOA_LANG", "LC_ALL", "LC_MESSAGES", "LANG"} {
		if value := strings.ToLower(env(name)); value != "" {
			if value == vietnamese || strings.HasPrefix(value, "vi_") || strings.HasPrefix(value, "vi-") || strings.HasPrefix(value, "vi.") {
				return vietnamese
			}
			return english
		}
	}
	return english
}

// catalogue is the messages of one language.
type catalogue struct {
	language  string
	localizer *i18n.Localizer
	keys      map[string]bool
	// used, in tests, remembers the keys that were asked for.
	used   map[string]bool
	server *serverTexts
}

func newCatalogue(name string) *catalogue {
	text, err := messageFiles.ReadFile("messages/" + name + ".json")
	if err != nil {
		panic(err) // it is embedded
	}
	tag := language.MustParse(name)
	bundle := i18n.NewBundle(tag)
	bundle.RegisterUnmarshalFunc("json", json.Unmarshal)
	file, err := bundle.ParseMessageFileBytes(text, name+".json")
	if err != nil {
		panic(err) // a test reads them
	}
	c := &catalogue{language: name, localizer: i18n.NewLocalizer(bundle, name), keys: make(map[string]bool, len(file.Messages))}
	for _, message := range file.Messages {
		c.keys[message.ID] = true
	}
	return c
}

// has says whether there is a message.
func (c *catalogue) has(key string) bool { return c.keys[key] }

func (c *catalogue) localize(key string, count any, pairs []any) string {
	if c.used != nil {
		c.used[key] = true
	}
	if !c.keys[key] {
		return "[" + key + "]"
	}
	config := &i18n.LocalizeConfig{MessageID: key, PluralCount: count}
	if len(pairs) > 0 || count != nil {
		data := make(map[string]string, len(pairs)/2+1)
		for i := 0; i+1 < len(pairs); i += 2 {
			// What is filled in may come from a server or a file: it must not command the terminal.
			data[pairs[i].(string)] = plain(fmt.Sprint(pairs[i+1]))
		}
		if count != nil {
			data["Count"] = fmt.Sprint(count)
		}
		config.TemplateData = data
	}
	// A language without a form for one thing uses the other form; the library says so in an error beside the text.
	text, err := c.localizer.Localize(config)
	if err != nil && text == "" {
		return "[" + key + "]"
	}
	return text
}

// T is the message of a key; pairs are the names and values that it mentions.
func (a *app) T(key string, pairs ...any) string { return a.text.localize(key, nil, pairs) }

// N is the message of a key for a number of things.
func (a *app) N(key string, count int, pairs ...any) string {
	return a.text.localize(key, count, pairs)
}

// word translates a word of the API (a phase, a kind, a step) where the catalogue has it, and shows it as it is where not.
func (a *app) word(family, word string) string {
	if key := family + "." + word; a.text.has(key) {
		return a.T(key)
	}
	return plain(word)
}

// said translates what a controller said.
func (a *app) said(text string) string {
	if a.text.language == english || text == "" {
		return plain(text)
	}
	if a.text.server == nil {
		a.text.server = newServerTexts(a.text.language)
	}
	return plain(a.text.server.translate(text))
}
