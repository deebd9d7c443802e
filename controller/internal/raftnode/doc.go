// Package raftnode is one member of the controllers' Raft group: hashicorp/raft with its stores, its network and its rules put together, behind a
// contract that the rest of the controller can use without knowing Raft. DESIGN.md beside this file tells the story.
//
// What may live here: consensus, the log and snapshots on disk, the connections between controllers, leadership, membership. What may not: what the
// log entries mean. The state machine comes from outside and its answers are handed back without being looked at.
package raftnode
