// Package scheduler chooses the host of a virtual machine. It is pure: hosts and a request go in, a place and an explanation come out; no
// I/O, no clock, no chance, no goroutine, and nothing but api/v1 is imported. Filters (filters.go) refuse hosts, one reason each; the score
// (score.go) chooses among those that are left. DESIGN.md beside this file says why it packs and what that is worth.
package scheduler
