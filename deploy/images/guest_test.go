package images

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// seed is what a guest finds on its disk labelled cidata.
type seed struct {
	metaData, userData string
}

// bootOptions are how a guest's machine differs from the usual one: disk and seed on virtio, one user-mode network card.
type bootOptions struct {
	memoryMebibytes string
	seedAsCDROM     bool
	noNetworkCard   bool
}

// guest is a running qemu with its serial line and its control socket.
type guest struct {
	t       *testing.T
	command *exec.Cmd
	input   *os.File
	control string
	exited  chan struct{}
	err     error // of command.Wait; read after exited is closed

	lock    sync.Mutex
	serial  bytes.Buffer
	written chan struct{} // closed and replaced when serial grows
}

// requireTools fails the test, with what to do, when a program is missing.
func requireTools(t *testing.T) {
	t.Helper()
	for program, debianPackage := range map[string]string{
		"qemu-system-x86_64": "qemu-system-x86", "qemu-img": "qemu-utils", "genisoimage": "genisoimage",
	} {
		_, err := exec.LookPath(program)
		require.NoErrorf(t, err, "this test boots real guests and needs %s: apt-get install %s", program, debianPackage)
	}
}

// buildImage returns the path of an image, built now if its inputs have changed.
func buildImage(t *testing.T, name string) string {
	t.Helper()
	output, err := exec.Command("./build", name).CombinedOutput()
	require.NoErrorf(t, err, "deploy/images/build %s said: %s", name, output)
	folder := os.Getenv("COLOA_BUILD_DIR")
	if folder == "" {
		folder = filepath.Join("..", "..", "build")
	}
	path, err := filepath.Abs(filepath.Join(folder, "images", name+".qcow2"))
	require.NoError(t, err)
	return path
}

// cloneDisk makes a copy-on-write disk of the given size (as qemu-img writes sizes) over an image.
func cloneDisk(t *testing.T, image, size string) string {
	t.Helper()
	disk := filepath.Join(t.TempDir(), "disk.qcow2")
	output, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", image, disk, size).CombinedOutput()
	require.NoErrorf(t, err, "qemu-img said: %s", output)
	return disk
}

// writeSeed makes the ISO file of a seed.
func writeSeed(t *testing.T, content seed) string {
	t.Helper()
	folder := t.TempDir()
	arguments := []string{"-quiet", "-output", filepath.Join(folder, "seed.iso"), "-volid", "cidata", "-joliet", "-rock"}
	for name, text := range map[string]string{"meta-data": content.metaData, "user-data": content.userData} {
		path := filepath.Join(folder, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		arguments = append(arguments, path)
	}
	output, err := exec.Command("genisoimage", arguments...).CombinedOutput()
	require.NoErrorf(t, err, "genisoimage said: %s", output)
	return filepath.Join(folder, "seed.iso")
}

// boot starts a guest by the BIOS, from its disk, without hardware acceleration. It is killed when the test ends.
func boot(t *testing.T, disk, seedFile string, options bootOptions) *guest {
	t.Helper()
	// Not t.TempDir(): its path may be longer than a socket's may be.
	folder, err := os.MkdirTemp("", "guest")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(folder) })

	memory := options.memoryMebibytes
	if memory == "" {
		memory = "128"
	}
	seedDrive := "if=virtio,format=raw,readonly=on,file=" + seedFile
	if options.seedAsCDROM {
		seedDrive = "media=cdrom,format=raw,readonly=on,file=" + seedFile
	}
	network := "user,model=virtio,restrict=on"
	if options.noNetworkCard {
		network = "none"
	}
	g := &guest{t: t, control: filepath.Join(folder, "qmp"), exited: make(chan struct{}), written: make(chan struct{})}
	g.command = exec.Command("qemu-system-x86_64", "-accel", "tcg", "-m", memory, "-display", "none", "-no-user-config",
		"-serial", "stdio", "-qmp", "unix:"+g.control+",server=on,wait=off",
		"-drive", "if=virtio,format=qcow2,file="+disk, "-drive", seedDrive, "-nic", network)
	input, output, err := os.Pipe()
	require.NoError(t, err)
	g.command.Stdin, g.input = input, output
	g.command.Stdout, g.command.Stderr = g, g
	require.NoError(t, g.command.Start())
	require.NoError(t, input.Close())
	go func() {
		g.err = g.command.Wait()
		close(g.exited)
	}()
	t.Cleanup(func() {
		_ = g.command.Process.Kill()
		<-g.exited
		_ = g.input.Close()
		if t.Failed() {
			t.Logf("serial line of the guest:\n%s", g.text())
		}
	})
	return g
}

// Write takes what the guest says on its serial line; exec calls it from its own goroutine.
func (g *guest) Write(data []byte) (int, error) {
	g.lock.Lock()
	defer g.lock.Unlock()
	g.serial.Write(data)
	close(g.written)
	g.written = make(chan struct{})
	return len(data), nil
}

func (g *guest) text() string {
	g.lock.Lock()
	defer g.lock.Unlock()
	return g.serial.String()
}

// expect waits until the guest has said all the words.
func (g *guest) expect(limit time.Duration, words ...string) {
	g.t.Helper()
	deadline := time.After(limit)
	for {
		g.lock.Lock()
		text, written := g.serial.String(), g.written
		g.lock.Unlock()
		missing := ""
		for _, word := range words {
			if !strings.Contains(text, word) {
				missing = word
			}
		}
		if missing == "" {
			return
		}
		select {
		case <-written:
		case <-g.exited:
			require.FailNowf(g.t, "the guest ended too early", "before it said %q: %v", missing, g.err)
		case <-deadline:
			require.FailNowf(g.t, "the guest did not say it", "%q was not heard within %s", missing, limit)
		}
	}
}

// say types a line at the guest's serial line.
func (g *guest) say(line string) {
	g.t.Helper()
	_, err := g.input.WriteString(line + "\n")
	require.NoError(g.t, err)
}

// powerDown presses the power button and waits until the guest has switched itself off.
func (g *guest) powerDown(limit time.Duration) {
	g.t.Helper()
	connection, err := net.Dial("unix", g.control)
	require.NoError(g.t, err)
	defer func() { _ = connection.Close() }()
	require.NoError(g.t, connection.SetDeadline(time.Now().Add(5*time.Second)))
	answers := json.NewDecoder(connection)
	var greeting map[string]any
	require.NoError(g.t, answers.Decode(&greeting))
	for _, name := range []string{"qmp_capabilities", "system_powerdown"} {
		require.NoError(g.t, json.NewEncoder(connection).Encode(map[string]string{"execute": name}))
		for {
			var answer map[string]any
			require.NoError(g.t, answers.Decode(&answer))
			if _, event := answer["event"]; event {
				continue
			}
			require.Contains(g.t, answer, "return", "qemu refused %s", name)
			break
		}
	}
	select {
	case <-g.exited:
		require.NoError(g.t, g.err)
	case <-time.After(limit):
		require.FailNowf(g.t, "the guest is still on", "%s after its power button was pressed", limit)
	}
}
