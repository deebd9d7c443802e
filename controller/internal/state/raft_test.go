package state

import "github.com/hashicorp/raft"

func raftLog(index uint64, data []byte) *raft.Log { return &raft.Log{Index: index, Data: data} }
