package v1

// SnapshotPhase is where a snapshot stands.
type SnapshotPhase string

const (
	SnapshotCreating  SnapshotPhase = "Creating"
	SnapshotAvailable SnapshotPhase = "Available"
	SnapshotDeleting  SnapshotPhase = "Deleting"
)

// Snapshot keeps the content of a volume at one moment.
type Snapshot struct {
	Meta
	Spec   SnapshotSpec   `json:"spec"`
	Status SnapshotStatus `json:"status"`
}

// SnapshotSpec cannot change.
type SnapshotSpec struct {
	Volume string `json:"volume" doc:"Name or id of the volume"`
}

// SnapshotStatus is what is known of a snapshot.
type SnapshotStatus struct {
	Phase     SnapshotPhase `json:"phase" doc:"Where the snapshot stands"`
	VolumeID  string        `json:"volumeId" doc:"Id of the volume"`
	SizeGiB   int64         `json:"sizeGiB" doc:"Size of the volume when the snapshot was taken, in GiB"`
	Operation string        `json:"operation,omitempty" doc:"Operation that works on it"`
}

func (*Snapshot) ObjectKind() Kind { return KindSnapshot }

// Validate implements Object.
func (o *Snapshot) Validate() error {
	var c checker
	c.meta(&o.Meta, KindSnapshot)
	c.reference("spec.volume", o.Spec.Volume, true)
	return c.err()
}

// Clone copies the object.
func (o *Snapshot) Clone() *Snapshot { copied := *o; copied.Meta = o.Meta.clone(); return &copied }
