package v1

import (
	"maps"
	"slices"
	"time"
)

// Meta is what every object has. Labels are free key/value pairs of the user.
type Meta struct {
	ID      string            `json:"id" doc:"Identifier (UUID), given by the cloud" example:"01890a5d-ac96-774b-bcce-b302099a8057"`
	Name    string            `json:"name" doc:"Name, unique among its kind in its project" example:"portal-1"`
	Project string            `json:"project,omitempty" doc:"Id of the project that owns it; empty for what belongs to the platform"`
	Labels  map[string]string `json:"labels,omitempty" doc:"Free key/value pairs"`

	CreatedAt time.Time  `json:"createdAt" doc:"When it was created (UTC)"`
	UpdatedAt time.Time  `json:"updatedAt" doc:"When it was last changed (UTC)"`
	DeletedAt *time.Time `json:"deletedAt,omitempty" doc:"When its deletion was asked for; it disappears once the deletion is carried out"`
	// Version is the log index of the entry that last wrote the object. It guards changes (ETag).
	Version uint64 `json:"version" doc:"Grows with every change; send it in If-Match to change only what you have seen"`
}

// ObjectMeta gives access to the common part of any noun.
func (m *Meta) ObjectMeta() *Meta { return m }

// Deleting says whether the object's deletion was asked for.
func (m *Meta) Deleting() bool { return m.DeletedAt != nil }

// Object is any noun. Objects that come out of the state are shared: Clone before changing one.
type Object interface {
	ObjectMeta() *Meta
	ObjectKind() Kind
	// Validate checks the object by itself, without looking at others. It returns a *Problem (CodeInvalid) or nil.
	Validate() error
}

// Link names another object.
type Link struct {
	Kind Kind   `json:"kind" doc:"Kind of the object"`
	ID   string `json:"id" doc:"Identifier of the object"`
	Name string `json:"name,omitempty" doc:"Its name, for people"`
}

// LinkTo makes the link to an object.
func LinkTo(object Object) Link {
	meta := object.ObjectMeta()
	return Link{Kind: object.ObjectKind(), ID: meta.ID, Name: meta.Name}
}

func (m Meta) clone() Meta {
	m.Labels = maps.Clone(m.Labels)
	if m.DeletedAt != nil {
		at := *m.DeletedAt
		m.DeletedAt = &at
	}
	return m
}

func cloneSlice[T any](s []T) []T { return slices.Clone(s) }

func clonePointer[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}
