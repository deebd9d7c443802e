package agent

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/coloa-cloud/coloa/api/hostv1"
	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// describeWithin bounds how long hypervisor and pools may take to say what they have.
const describeWithin = 2 * time.Minute

// describe says what this host is and has. A part that does not answer is an error: half an inventory would make the controllers believe that
// the rest is gone.
func (a *Agent) describe(ctx context.Context) (hostv1.RegisterRequest, error) {
	ctx, cancel := context.WithTimeout(ctx, describeWithin)
	defer cancel()
	info, err := a.options.Hypervisor.Info(ctx)
	if err != nil {
		return hostv1.RegisterRequest{}, err
	}
	inventory := v1.Inventory{
		CPUs:         info.CPUs,
		CPUModel:     info.CPUModel,
		MemoryMiB:    info.MemoryMiB,
		Architecture: info.Architecture,
		Hypervisor:   info.Hypervisor,
		Acceleration: info.Acceleration,
	}
	for _, name := range slices.Sorted(maps.Keys(a.options.Drivers)) {
		capacity, err := a.options.Drivers[name].Capacity(ctx)
		if err != nil {
			return hostv1.RegisterRequest{}, fmt.Errorf("storage pool %s: %w", name, err)
		}
		inventory.Pools = append(inventory.Pools, v1.Pool{Driver: name, TotalBytes: capacity.TotalBytes, FreeBytes: capacity.FreeBytes})
	}
	return hostv1.RegisterRequest{
		Name:      a.options.HostName,
		BootID:    a.options.BootID,
		Version:   a.options.Version,
		Address:   a.options.Address,
		Inventory: inventory,
	}, nil
}
