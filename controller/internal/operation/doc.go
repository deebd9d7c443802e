// Package operation carries out Operations: durable jobs of several steps, each with a Do and an Undo. What to do next is a pure function of the
// state (Advance); the Engine, which the leader runs, only looks, asks Advance and proposes what it says. The journal is the Operation
// object itself, written in the same log entry as whatever a step changes, so a crash at any point loses nothing and repeats nothing but looks.
//
// What each operation does lives in ops, one file each. DESIGN.md tells the story.
package operation
