package domxml

import (
	"encoding/xml"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/coloa-cloud/coloa/agent/hypervisor"
)

const (
	// Namespace marks our element in a domain's metadata. A domain without it is somebody else's.
	Namespace   = "https://coloa.cloud/libvirt/machine/1"
	elementName = "machine"
	// StartedNamespace marks a domain that has been started at least once. libvirt itself forgets that when its daemon restarts.
	StartedNamespace = "https://coloa.cloud/libvirt/started/1"
	// StartedElement is the element of StartedNamespace.
	StartedElement = "<started/>"
	// maximumShown bounds a text that is only shown.
	maximumShown = 256
)

// Owner is what a domain's metadata says about whose it is.
type Owner struct {
	XMLName xml.Name
	Cluster string  `xml:"cluster"`
	VM      string  `xml:"vm,omitempty"`
	Project string  `xml:"project,omitempty"`
	Title   string  `xml:"title,omitempty"`
	Labels  []Label `xml:"label"`
}

// Label is one of the machine's labels.
type Label struct {
	Key   string `xml:"key,attr"`
	Value string `xml:",chardata"`
}

// ParseOwner reads the element that libvirt returns for Namespace. libvirt leaves the namespace itself out of its answer.
func ParseOwner(element string) (Owner, error) {
	var owner Owner
	if err := xml.Unmarshal([]byte(element), &owner); err != nil {
		return Owner{}, fmt.Errorf("read the domain's metadata: %w", err)
	}
	if owner.XMLName.Local != elementName {
		return Owner{}, fmt.Errorf("read the domain's metadata: it holds <%s> instead of <%s>", owner.XMLName.Local, elementName)
	}
	return owner, nil
}

func marshalMetadata(machine hypervisor.Machine) (string, error) {
	owner := Owner{XMLName: xml.Name{Space: Namespace, Local: elementName}, Cluster: machine.Cluster, VM: machine.VM, Project: machine.Project, Title: visible(machine.Title)}
	for _, key := range slices.Sorted(maps.Keys(machine.Labels)) {
		owner.Labels = append(owner.Labels, Label{Key: visible(key), Value: visible(machine.Labels[key])})
	}
	text, err := xml.Marshal(owner)
	if err != nil {
		return "", fmt.Errorf("%w: %w", hypervisor.ErrInvalid, err)
	}
	return string(text), nil
}

// visible makes a user's text fit to be shown to an operator (virsh list --title): what cannot be seen, breaks the line or turns the direction
// of the text around it becomes U+FFFD, so that nobody's VM can look like another one.
func visible(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	shown := strings.Map(func(character rune) rune {
		if unicode.IsPrint(character) {
			return character
		}
		return unicode.ReplacementChar
	}, text)
	if runes := []rune(shown); len(runes) > maximumShown {
		shown = string(runes[:maximumShown-1]) + "…"
	}
	return strings.TrimSpace(shown)
}
