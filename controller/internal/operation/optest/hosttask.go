package optest

import (
	"encoding/json"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// carryOut does a task once, with the promises of storage.Driver.
func (h *Host) carryOut(spec v1.TaskSpec) (output any, problem *v1.Problem) {
	switch spec.Type {
	case v1.TaskImageImport:
		args := decode[v1.ImageArgs](spec.Args)
		h.Images[args.Driver+"/"+args.Image.ID] = true
		return v1.ImageResult{SHA256: args.Image.SHA256, SizeBytes: 1 << 20, VirtualSize: 1 << 30}, nil
	case v1.TaskImageDelete:
		args := decode[v1.ImageArgs](spec.Args)
		for _, disk := range h.Volumes {
			if disk.Driver == args.Driver && disk.Image == args.Image.ID {
				return nil, v1.NewProblem(v1.CodeInUse, "the image has clones")
			}
		}
		delete(h.Images, args.Driver+"/"+args.Image.ID)
	case v1.TaskVolumeCreate, v1.TaskVolumeResize, v1.TaskVolumeDelete:
		return nil, h.volumeTask(spec.Type, decode[v1.VolumeArgs](spec.Args))
	case v1.TaskSnapshotCreate, v1.TaskSnapshotRestore, v1.TaskSnapshotDelete:
		return nil, h.snapshotTask(spec.Type, decode[v1.SnapshotArgs](spec.Args))
	case v1.TaskVMReboot:
		machine := h.Machines[decode[v1.RebootArgs](spec.Args).Instance]
		if machine == nil || machine.State != v1.InstanceRunning {
			return nil, v1.NewProblem(v1.CodeWrongState, "the machine does not run")
		}
		h.Reboots++
	case v1.TaskVMForget:
		vm := decode[v1.VMArgs](spec.Args).VM
		for _, machine := range h.Machines {
			if machine.Spec.VM == vm && machine.State == v1.InstanceRunning {
				return nil, v1.NewProblem(v1.CodeInUse, "an instance of the VM is not over")
			}
		}
		delete(h.Logs, vm)
	default:
		return nil, v1.NewProblem(v1.CodeHostFailed, "unknown task %s", spec.Type)
	}
	return nil, nil
}

func (h *Host) volumeTask(taskType v1.TaskType, args v1.VolumeArgs) *v1.Problem {
	disk := h.Volumes[args.Volume]
	switch taskType {
	case v1.TaskVolumeCreate:
		image := ""
		if args.Image != nil {
			image = args.Image.ID
			h.Images[args.Driver+"/"+image] = true // fetched from its keeper
		}
		if disk == nil {
			h.Volumes[args.Volume] = &Disk{Driver: args.Driver, Bytes: args.SizeBytes, Image: image, Content: "image " + image, Snapshots: map[string]Copy{}}
		} else if disk.Image != image || disk.Bytes < args.SizeBytes {
			return v1.NewProblem(v1.CodeConflict, "it exists with other properties")
		}
	case v1.TaskVolumeResize:
		switch open := h.open(args.Volume); {
		case disk == nil:
			return v1.NewProblem(v1.CodeNotFound, "no such volume")
		case open != nil && args.Instance == "":
			return v1.NewProblem(v1.CodeInUse, "a guest has it open")
		case args.SizeBytes < disk.Bytes:
			return v1.NewProblem(v1.CodeInvalid, "a volume cannot shrink")
		}
		disk.Bytes = args.SizeBytes
	case v1.TaskVolumeDelete:
		if h.open(args.Volume) != nil {
			return v1.NewProblem(v1.CodeInUse, "a guest has it open")
		}
		delete(h.Volumes, args.Volume)
	}
	return nil
}

func (h *Host) snapshotTask(taskType v1.TaskType, args v1.SnapshotArgs) *v1.Problem {
	disk := h.Volumes[args.Volume]
	if disk == nil {
		if taskType == v1.TaskSnapshotDelete {
			return nil
		}
		return v1.NewProblem(v1.CodeNotFound, "no such volume")
	}
	if h.open(args.Volume) != nil {
		return v1.NewProblem(v1.CodeInUse, "a guest has it open")
	}
	copied, there := disk.Snapshots[args.Snapshot]
	switch taskType {
	case v1.TaskSnapshotCreate:
		if !there {
			disk.Snapshots[args.Snapshot] = Copy{disk.Bytes, disk.Content}
		}
	case v1.TaskSnapshotRestore:
		if !there {
			return v1.NewProblem(v1.CodeNotFound, "no such snapshot")
		}
		disk.Bytes, disk.Content = copied.Bytes, copied.Content
	case v1.TaskSnapshotDelete:
		delete(disk.Snapshots, args.Snapshot)
	}
	return nil
}

func encode(value any) json.RawMessage {
	if value == nil {
		return nil
	}
	data, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return data
}

func decode[T any](data json.RawMessage) (value T) {
	if err := json.Unmarshal(data, &value); err != nil {
		panic(err)
	}
	return value
}
