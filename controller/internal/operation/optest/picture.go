package optest

import (
	"encoding/json"
	"fmt"
	"strings"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// Picture is all that matters of a world, by name: the objects, what is given out, and what is on the hosts. Two worlds with equal pictures are equal to everybody. Left out is what may well differ:
// operations themselves, versions and times; which operation worked on something last; machines that are over, which are as good as none; and images that a host has fetched and keeps.
type Picture map[string]string

// Picture as it is now.
func (w *World) Picture() Picture {
	p := Picture{}
	s := w.Store.Snapshot()
	live := func(id string) bool { instance := s.Instance(id); return instance != nil && instance.Live() }
	for _, definition := range v1.Kinds {
		if definition.Kind == v1.KindOperation {
			continue
		}
		for _, object := range s.List(definition.Kind) {
			fields := map[string]any{}
			data := encode(object)
			if err := json.Unmarshal(data, &fields); err != nil {
				panic(err)
			}
			for _, name := range []string{"version", "createdAt", "updatedAt"} {
				delete(fields, name)
			}
			status, _ := fields["status"].(map[string]any)
			delete(status, "operation")
			name := fmt.Sprintf("%s %s", definition.Kind, object.ObjectMeta().Name)
			switch o := object.(type) {
			case *v1.VM:
				status["instance"] = live(o.Status.Instance)
			case *v1.Instance:
				if !o.Live() {
					continue
				}
				name = "Instance of " + o.Spec.Title
				delete(fields, "id")
				delete(fields, "name")
				delete(fields["observed"].(map[string]any), "seq")
			case *v1.Attachment:
				if !live(o.Spec.Instance) {
					continue
				}
				name = "Attachment of " + o.Spec.Volume
				delete(fields, "id")
				delete(fields, "name")
				delete(fields["spec"].(map[string]any), "instance")
			}
			p[name] = string(encode(fields))
		}
	}
	for _, project := range s.List(v1.KindProject) {
		p["use of "+project.ObjectMeta().Name] = string(encode(s.ProjectUsage(project.ObjectMeta().ID)))
	}
	for _, host := range w.Hosts {
		p["use of "+host.ID] = string(encode(s.HostUsage(host.ID)))
		host.draw(p)
	}
	return p
}

func (h *Host) draw(p Picture) {
	s := h.world.Store.Snapshot()
	for id, disk := range h.Volumes {
		p[h.ID+" volume "+id] = string(encode(disk))
	}
	for id, machine := range h.Machines {
		switch {
		case machine.Absent:
			p[h.ID+" left behind "+id] = string(machine.State)
		case h.lives(machine):
			p[h.ID+" machine of "+machine.Spec.VM] = fmt.Sprint(machine.State, machine.Spec.VCPUs, machine.Spec.MemoryMiB, machine.Desired)
		}
	}
	for vm := range h.Logs {
		if s.VM(vm) == nil { // as long as the VM is there, so are its logs
			p[h.ID+" logs of "+vm] = ""
		}
	}
	for image := range h.Images {
		_, id, _ := strings.Cut(image, "/")
		if known := s.Image(id); known == nil || known.Status.Phase != v1.ImageAvailable {
			p[h.ID+" image "+image] = ""
		}
	}
	for id, task := range h.tasks {
		p[h.ID+" task "+id] = string(task.spec.Type)
	}
}

// Without leaves out what a function says.
func (p Picture) Without(out func(name string) bool) Picture {
	for name := range p {
		if out(name) {
			delete(p, name)
		}
	}
	return p
}
