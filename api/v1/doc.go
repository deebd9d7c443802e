// Package v1 holds the nouns of Coloa: their types, states, validation and error codes. Clients, controllers and agents all speak these
// words. It imports only the standard library, does no I/O, and knows nothing of how a noun is stored or carried out.
//
// Every noun is {Meta, Spec, Status}. Spec is what the user wrote, returned as written. Status is ours; fields marked "computed" are
// filled in when an object is shown (view.go) and are never stored. One file holds one noun; kinds.go is their table.
package v1
