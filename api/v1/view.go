package v1

// This file computes the parts of status that are never stored. Each function is pure: from what the user wants and what the agents see to what people are shown.

// Related is what the view of an object needs of others; any part may be nil or empty.
type Related struct {
	Instance   *Instance
	Host       *Host
	Operation  *Operation
	HostUsage  Usage
	Usage      ProjectUsage
	AttachedTo string
}

// Show fills in the computed status of a copy of the VM.
func (o *VM) Show(related Related) *VM {
	shown := o.Clone()
	shown.Status.Phase, shown.Status.Message = vmPhase(o, related)
	if instance := related.Instance; instance != nil && instance.Live() {
		shown.Status.Host = instance.Spec.Host
		if related.Host != nil {
			shown.Status.HostName = related.Host.Name
		}
	}
	return shown
}

func vmPhase(vm *VM, related Related) (VMPhase, string) {
	instance, operation := related.Instance, related.Operation
	busy := operation != nil && !operation.Status.State.Finished()
	message := ""
	if busy {
		message = operation.Status.Message
	}
	if vm.Deleting() {
		return VMDeleting, message
	}
	if busy && operation.Spec.Type == OpVMCreate && (instance == nil || instance.Observed.State == InstancePending) {
		return VMCreating, message
	}
	if instance == nil {
		return VMStopped, message
	}
	if instance.Live() && related.Host != nil && related.Host.Status.Phase == HostSilent {
		return VMUnknown, "its host does not answer; the machine may well run"
	}
	if instance.Fence != nil { // whatever its host saw last
		return VMStopped, "its host was fenced"
	}
	switch instance.Observed.State {
	case InstancePending:
		if instance.Desired.State == DesiredStopped {
			return VMStopping, message
		}
		return VMStarting, message
	case InstanceRunning:
		if instance.Desired.State == DesiredStopped {
			return VMStopping, message
		}
		return VMRunning, ""
	case InstancePaused:
		return VMPaused, instance.Observed.Message
	}
	switch instance.Observed.Reason {
	case StoppedRequested:
		return VMStopped, ""
	case StoppedByGuest:
		return VMStopped, "the guest shut itself down"
	case StoppedHostBoot:
		return VMCrashed, "its host restarted"
	default:
		return VMCrashed, instance.Observed.Message
	}
}

// Redact removes what only members may see (user-data and keys); lists are always redacted.
func (o *VM) Redact() *VM {
	shown := o.Clone()
	shown.Spec.UserData, shown.Spec.SSHKeys = "", nil
	return shown
}

// Show fills in the computed status of a copy of the host.
func (o *Host) Show(related Related) *Host {
	shown := o.Clone()
	shown.Status.Usage, shown.Status.Limit = related.HostUsage, o.Limits()
	if !o.Spec.Schedulable && o.Status.Phase == HostReady {
		shown.Status.Phase = HostMaintenance
	}
	return shown
}

// Show fills in the computed status of a copy of the project.
func (o *Project) Show(related Related) *Project {
	shown := o.Clone()
	shown.Status.Usage = related.Usage
	return shown
}

// Show fills in the computed status of a copy of the volume.
func (o *Volume) Show(related Related) *Volume {
	shown := o.Clone()
	shown.Status.AttachedTo = related.AttachedTo
	return shown
}

// Show removes the secret of a copy of the user.
func (o *User) Show(Related) *User {
	shown := o.Clone()
	shown.Status.HasPassword = o.Secret.PasswordHash != ""
	shown.Secret = UserSecret{}
	return shown
}

// Show removes the hash of a copy of the token.
func (o *Token) Show(Related) *Token {
	shown := o.Clone()
	shown.Hash = ""
	return shown
}

// Show hides what the guest is told of a copy of the instance.
func (o *Instance) Show(Related) *Instance {
	shown := o.Clone()
	shown.Spec.Seed.UserData, shown.Spec.Seed.SSHKeys = "", nil
	return shown
}

// Short is the last part of an id, for people: identifiers made at one time begin alike.
func Short(id string) string {
	if len(id) <= 8 {
		return id
	}
	return id[len(id)-8:]
}
