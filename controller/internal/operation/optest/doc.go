// Package optest is a cloud without time, network or threads, to test operations in: a real state.Store that is written entry by entry as raft
// would write it (World), and hosts that are plain values and carry out what their sets say (Host). Everything is deterministic; whoever tests
// chooses the order. It knows no operation: what is done, and what must come of it, is said by the tests.
package optest
