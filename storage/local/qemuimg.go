package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/coloa-cloud/coloa/storage"
)

// limits of one run of qemu-img.
type limits struct {
	wall      time.Duration
	cpu       time.Duration // 0: as wall
	fileBytes int64         // largest file it may write; 0: no limit
}

var (
	quick  = limits{wall: time.Minute}      // reads or writes a few tables
	long   = limits{wall: 30 * time.Minute} // reads or writes tables of a large disk
	copies = limits{wall: 4 * time.Hour}    // moves all of a disk's data
)

// addressSpace bounds qemu-img's virtual memory, in bytes: enough for its largest tables and its threads, far below a host's memory.
const addressSpace = int64(4) << 30

// outputBytes bounds what is kept of qemu-img's output.
const outputBytes = 4 << 20

// errTool is qemu-img's own refusal, as opposed to not having been able to run it.
var errTool = errors.New("qemu-img failed")

// runQemuImg is the only place that starts qemu-img, so that this is the only place to confine it. It runs with a constant environment,
// without a shell, in a process group of its own that is killed when ctx or limits.wall ends or when this process dies, and with memory,
// CPU and file size bounded by prlimit where the host has it. It returns stdout. Errors: ctx's, ErrInUse (another process holds the
// image's lock), ErrNoSpace, or errTool with the first line that qemu-img said.
func (d *Driver) runQemuImg(ctx context.Context, limit limits, arguments ...string) ([]byte, error) {
	bounded, cancel := context.WithTimeout(ctx, limit.wall)
	defer cancel()
	program, all := d.qemuImg, arguments
	if d.prlimit != "" {
		cpu := limit.cpu
		if cpu == 0 {
			cpu = limit.wall
		}
		bounds := []string{"--core=0", "--as=" + strconv.FormatInt(addressSpace, 10), "--cpu=" + strconv.FormatInt(int64(cpu/time.Second), 10)}
		if limit.fileBytes > 0 {
			bounds = append(bounds, "--fsize="+strconv.FormatInt(limit.fileBytes, 10))
		}
		program, all = d.prlimit, append(append(bounds, "--", d.qemuImg), arguments...)
	}
	command := exec.CommandContext(bounded, program, all...)
	command.Env = []string{"LC_ALL=C", "MALLOC_ARENA_MAX=2"} // its messages are read below; arenas count as address space
	command.Dir = "/"
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
	command.WaitDelay = 5 * time.Second
	stdout, stderr := &boundedBuffer{limit: outputBytes}, &boundedBuffer{limit: 4096}
	command.Stdout, command.Stderr = stdout, stderr

	// Pdeathsig follows the thread that starts the child, so this thread must live as long as the child.
	runtime.LockOSThread()
	err := command.Run()
	runtime.UnlockOSThread()

	output := stdout.kept.Bytes()
	switch {
	case err == nil && !stdout.cut:
		return output, nil
	case err == nil:
		return nil, fmt.Errorf("qemu-img %s wrote more than %d bytes", arguments[0], outputBytes)
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case bounded.Err() != nil:
		return nil, fmt.Errorf("%w: %s took longer than %s and was ended", errTool, arguments[0], limit.wall)
	}
	return output, toolError(arguments[0], err, stderr.kept.String())
}

// toolError says why qemu-img failed, in the contract's words where it has any.
func toolError(verb string, err error, stderr string) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return fmt.Errorf("qemu-img cannot be run: %w", err)
	}
	line := firstLine(stderr)
	if line == "" {
		line = exit.String() // "exit status 3", "signal: killed"
	}
	switch {
	case strings.HasPrefix(line, "prlimit: "), exit.ExitCode() == 126, exit.ExitCode() == 127: // it was not even started
		return fmt.Errorf("qemu-img cannot be run: %s", line)
	case strings.Contains(stderr, "Failed to get ") && strings.Contains(stderr, " lock"):
		return fmt.Errorf("%w: a guest or another program has the disk open", storage.ErrInUse)
	case strings.Contains(stderr, "No space left on device"), strings.Contains(stderr, "Disk quota exceeded"):
		return fmt.Errorf("%w: %s", storage.ErrNoSpace, line)
	}
	return fmt.Errorf("%w: %s: %s (%w)", errTool, verb, line, err)
}

// firstLine is the first line of what a program said, in printable characters and of bearable length: parts of it come from the file.
func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	line = strings.TrimPrefix(strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, line), "qemu-img: ")
	if len(line) > 300 {
		line = strings.ToValidUTF8(line[:300], "") + "…"
	}
	return line
}

// boundedBuffer keeps the first limit bytes and swallows the rest, so that the program never blocks on us. It does not embed its
// buffer: io.Copy would find bytes.Buffer's ReadFrom and go around the limit.
type boundedBuffer struct {
	kept  bytes.Buffer
	limit int
	cut   bool
}

func (b *boundedBuffer) Write(data []byte) (int, error) {
	keep := min(len(data), b.limit-b.kept.Len())
	b.kept.Write(data[:keep])
	b.cut = b.cut || keep < len(data)
	return len(data), nil
}

// imageOptions names a file with its format given, so that qemu-img neither probes the format nor reads the path as a URL.
func imageOptions(format, path string) string {
	return "driver=" + format + ",file.driver=file,file.filename=" + strings.ReplaceAll(path, ",", ",,")
}

// diskInfo is what is used of `qemu-img info --output=json`.
type diskInfo struct {
	VirtualSize int64 `json:"virtual-size"`
	ActualSize  int64 `json:"actual-size"`
	Snapshots   []struct {
		Name string `json:"name"`
	} `json:"snapshots"`
}

// info reads one of our own disks, also while a guest has it open (-U). It does not open the backing file.
func (d *Driver) info(ctx context.Context, path string) (diskInfo, error) {
	output, err := d.runQemuImg(ctx, quick, "info", "-U", "--output=json", "--image-opts", imageOptions(storage.FormatQCOW2, path))
	if err != nil {
		return diskInfo{}, err
	}
	var info diskInfo
	if err := json.Unmarshal(output, &info); err != nil {
		return diskInfo{}, fmt.Errorf("qemu-img info said something unexpected: %w", err)
	}
	return info, nil
}
