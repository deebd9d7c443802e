package controller

import "github.com/coloa-cloud/coloa/controller/internal/raftnode/memnet"

// Network connects controllers in one process, with faults. Its endpoints serve as Options.Fabric.
type Network = memnet.Network

// NewNetwork makes a network in memory: for tests and the development mode.
func NewNetwork() *Network { return memnet.New() }
