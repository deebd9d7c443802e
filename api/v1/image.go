package v1

// ImagePhase is where an image stands.
type ImagePhase string

const (
	ImageWaiting   ImagePhase = "Waiting"   // made, its bytes are still to be uploaded
	ImageImporting ImagePhase = "Importing" // a host checks and converts the bytes
	ImageAvailable ImagePhase = "Available"
	ImageDeleting  ImagePhase = "Deleting"
)

// Image formats that may be uploaded.
const (
	FormatRaw   = "raw"
	FormatQCOW2 = "qcow2"
)

// Image is what disks are cloned from.
type Image struct {
	Meta
	Spec   ImageSpec   `json:"spec"`
	Status ImageStatus `json:"status"`
}

// ImageSpec is what the user says of an image. Format and SHA256 cannot change.
type ImageSpec struct {
	Title  string `json:"title,omitempty" doc:"Description" maxLength:"1024"`
	Format string `json:"format" doc:"Format of the uploaded file; it is checked and never guessed" enum:"raw,qcow2"`
	SHA256 string `json:"sha256,omitempty" doc:"Expected SHA-256 of the uploaded file, hexadecimal"`
	Public bool   `json:"public,omitempty" doc:"Every project may use it (platform administrators only)"`
}

// ImageStatus is what is known of an image.
type ImageStatus struct {
	Phase       ImagePhase `json:"phase" doc:"Where the image stands"`
	SizeBytes   int64      `json:"sizeBytes,omitempty" doc:"Size of the uploaded file in bytes"`
	VirtualSize int64      `json:"virtualSize,omitempty" doc:"Size of the disk that a guest sees, in bytes"`
	SHA256      string     `json:"sha256,omitempty" doc:"SHA-256 of the uploaded file"`
	// Keeper is the controller that keeps the uploaded bytes, from which hosts fetch them.
	Keeper    string `json:"keeper,omitempty" doc:"Controller that keeps the uploaded file"`
	Operation string `json:"operation,omitempty" doc:"Operation that works on it"`
}

// MinDiskGiB is the smallest disk that holds the image.
func (o *Image) MinDiskGiB() int64 { return (o.Status.VirtualSize + 1<<30 - 1) >> 30 }

func (*Image) ObjectKind() Kind { return KindImage }

// Validate implements Object.
func (o *Image) Validate() error {
	var c checker
	c.meta(&o.Meta, KindImage)
	c.text("spec.title", o.Spec.Title)
	oneOf(&c, "spec.format", o.Spec.Format, FormatRaw, FormatQCOW2)
	if o.Spec.SHA256 != "" && !digestHex.MatchString(o.Spec.SHA256) {
		c.fail("spec.sha256", "must be 64 lower-case hexadecimal digits")
	}
	return c.err()
}

// Clone copies the object.
func (o *Image) Clone() *Image { copied := *o; copied.Meta = o.Meta.clone(); return &copied }
