package v1

// Attachment is a Volume given to an Instance. Among those of live Instances a volume has at most one.
type Attachment struct {
	Meta
	Spec AttachmentSpec `json:"spec"`
}

// AttachmentSpec cannot change.
type AttachmentSpec struct {
	Volume   string `json:"volume" doc:"Id of the volume"`
	Instance string `json:"instance" doc:"Id of the instance"`
	VM       string `json:"vm" doc:"Id of the virtual machine"`
	Host     string `json:"host" doc:"Id of the host"`
	Root     bool   `json:"root" doc:"It is the disk that the machine boots from"`
}

func (*Attachment) ObjectKind() Kind { return KindAttachment }

// Validate implements Object.
func (o *Attachment) Validate() error {
	var c checker
	c.meta(&o.Meta, KindAttachment)
	c.reference("spec.volume", o.Spec.Volume, true)
	c.reference("spec.instance", o.Spec.Instance, true)
	return c.err()
}

// Clone copies the object.
func (o *Attachment) Clone() *Attachment { copied := *o; copied.Meta = o.Meta.clone(); return &copied }
