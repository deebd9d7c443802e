// Package storage says what the cloud needs of block storage. It holds the Driver interface and its words only (with the checks of
// ids and sizes that every driver makes); each driver lives in a folder of its own (local, mem, and later ceph), and storage/conformance holds the suite that all of them pass.
//
// Drivers run in the agent. They decide nothing: ids, sizes and sources come from the controller. Every method is
// idempotent by id, so that a Task may be repeated after a crash at any point.
package storage

import (
	"context"
	"errors"
	"io"
)

// Errors that every driver returns (wrapped, with the object's id in the text). Callers test with errors.Is.
var (
	// ErrNotFound: the volume, snapshot or image is not in this pool.
	ErrNotFound = errors.New("not found in the storage pool")
	// ErrInUse: a running guest has the volume open, or clones still depend on the image or snapshot.
	ErrInUse = errors.New("in use")
	// ErrNoSpace: the pool has no room left; nothing was left behind by the attempt.
	ErrNoSpace = errors.New("no space left in the storage pool")
	// ErrInvalidImage: the uploaded file is not what was declared, or is of a kind that is refused (backing file, data file, unknown features).
	ErrInvalidImage = errors.New("invalid image")
	// ErrShrink: a volume can only grow.
	ErrShrink = errors.New("a volume cannot shrink")
	// ErrInvalid: the id or the size that was asked for is not one that can exist; nothing was looked at.
	ErrInvalid = errors.New("invalid id or size")
	// ErrConflict: an object with this id exists with other properties (size, source).
	ErrConflict = errors.New("exists with other properties")
)

// Image formats that an import may declare. Any other format is refused.
const (
	FormatRaw   = "raw"
	FormatQCOW2 = "qcow2"
)

// Capacity of a pool, in bytes.
type Capacity struct {
	TotalBytes int64 `json:"totalBytes"`
	UsedBytes  int64 `json:"usedBytes"`
	FreeBytes  int64 `json:"freeBytes"`
}

// ImageInfo is what an import found out.
type ImageInfo struct {
	ID          string `json:"id"`
	SHA256      string `json:"sha256"`      // of the uploaded bytes, lower-case hexadecimal
	UploadBytes int64  `json:"uploadBytes"` // size of the uploaded file
	VirtualSize int64  `json:"virtualSize"` // size of the disk a guest sees, in bytes, a multiple of 512
}

// ImageSource is the bytes of an image with what the caller promised about them.
type ImageSource struct {
	ID     string
	Format string // FormatRaw or FormatQCOW2: what the import said. It is checked, never guessed
	SHA256 string // expected digest of the bytes in hexadecimal; "" when not known
	// Data is read once, to its end. If it is an io.Closer it is closed when ctx ends, so that a stalled upload does not hold the import;
	// any other reader must end by itself.
	Data io.Reader
	// MaxBytes bounds the virtual size; an image that claims more is ErrInvalidImage. 0 means 2 TiB.
	MaxBytes int64
}

// VolumeSource says what a new volume starts as: empty (the zero value), or a copy-on-write clone of an image.
type VolumeSource struct {
	ImageID string `json:"imageId,omitempty"`
}

// Volume is a volume as the pool knows it.
type Volume struct {
	ID        string   `json:"id"`
	SizeBytes int64    `json:"sizeBytes"`
	ImageID   string   `json:"imageId,omitempty"`   // the image it was cloned from
	Snapshots []string `json:"snapshots,omitempty"` // snapshot ids, sorted
	UsedBytes int64    `json:"usedBytes"`           // really allocated
}

// Disk tells the hypervisor how to open a volume. Exactly one of the kinds is set.
type Disk struct {
	Path   string `json:"path,omitempty"`   // a file on this host
	Format string `json:"format,omitempty"` // the format of Path; recorded by us, never probed
	// Backing is the file of the image that Path is a clone of, in the format qcow2; "" for a disk that stands alone. Many disks share it: it is
	// only ever read, and its owner and mode must stay as they are.
	Backing string `json:"backing,omitempty"`
}

// Contents lists everything of ours in the pool, for the search of orphans. Ids are sorted.
type Contents struct {
	Images  []string `json:"images"`
	Volumes []Volume `json:"volumes"`
}

// Driver is one storage pool. Sizes are bytes, multiples of 1 MiB and at most MaxVolumeBytes. Ids are UUID-like ([a-z0-9-], at most 64
// characters, the first one not a "-"); a driver refuses any other id and size with ErrInvalid, since ids become file names. All
// methods are safe for concurrent use, also on the same id, and give up when ctx ends.
type Driver interface {
	// Name is the driver's name, as in a volume's spec: "local", "mem", "ceph".
	Name() string
	Capacity(ctx context.Context) (Capacity, error)
	Contents(ctx context.Context) (Contents, error)

	// ImportImage stores an image. If the image is there already it returns its facts without reading Data (ErrConflict when another
	// SHA256 is promised now). Errors: ErrInvalidImage, ErrNoSpace. Nothing is left behind by a failed or interrupted import.
	ImportImage(ctx context.Context, source ImageSource) (ImageInfo, error)
	// Image returns the facts of an imported image, or ErrNotFound.
	Image(ctx context.Context, id string) (ImageInfo, error)
	// DeleteImage removes an image; ErrInUse while volumes depend on it; nil when it is gone already.
	DeleteImage(ctx context.Context, id string) error

	// CreateVolume makes the volume; nil when it exists with the same source and a size no smaller than asked; ErrConflict when it
	// exists otherwise. A clone must be at least as large as its image (ErrShrink); ErrNotFound when there is no such image; ErrNoSpace.
	CreateVolume(ctx context.Context, id string, size int64, source VolumeSource) (Volume, error)
	// Volume returns what the pool knows, or ErrNotFound. It works while a guest has the volume open.
	Volume(ctx context.Context, id string) (Volume, error)
	// ResizeVolume grows a volume that no guest has open (ErrInUse). nil when it has that size; ErrShrink when it is larger; ErrNotFound.
	ResizeVolume(ctx context.Context, id string, size int64) error
	// DeleteVolume removes the volume and its snapshots; ErrInUse while a guest has it open; nil when it is gone already.
	DeleteVolume(ctx context.Context, id string) error

	// CreateSnapshot keeps the present content under snapshot; nil when that snapshot exists. ErrInUse while a guest has it open, unless the driver can;
	// ErrNotFound when there is no such volume.
	CreateSnapshot(ctx context.Context, volume, snapshot string) error
	// RestoreSnapshot makes the volume's content what it was (its size too, when it has grown since). ErrInUse, ErrNotFound.
	RestoreSnapshot(ctx context.Context, volume, snapshot string) error
	// DeleteSnapshot forgets a snapshot; nil when the snapshot or the volume is gone already. ErrInUse as for CreateSnapshot.
	DeleteSnapshot(ctx context.Context, volume, snapshot string) error

	// Open returns how a hypervisor opens the volume, or ErrNotFound. It changes nothing.
	Open(ctx context.Context, id string) (Disk, error)
}
