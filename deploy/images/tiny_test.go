package images

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// speechLimit is how long a tiny guest may take to say something: it needs about 4 s, the rest is for a busy machine.
const speechLimit = 45 * time.Second

func randomWord() string { return fmt.Sprintf("word-%08x", rand.Uint32()) }

func TestTinyObeysItsSeedAndKeepsItsDisk(t *testing.T) {
	t.Parallel()
	requireTools(t)
	disk := cloneDisk(t, buildImage(t, "tiny"), "1G")
	first, second, kept := randomWord(), randomWord(), randomWord()
	script := func(word string) string {
		// The marker is put together by the guest, so that the script's text itself is not taken for its output.
		return "#!/bin/sh\necho said-\"" + word + "\"-by-$(hostname)\ndf -m / | awk 'NR == 2 { print \"root-has-\" ($2 > 900 ? \"grown\" : \"not grown\") }'\n"
	}
	seedOne := writeSeed(t, seed{metaData: "instance-id: one\nlocal-hostname: vm-one\n", userData: script(first)})
	seedTwo := writeSeed(t, seed{metaData: "instance-id: two\nlocal-hostname: vm-two\n", userData: script(second)})

	started := time.Now()
	g := boot(t, disk, seedOne, bootOptions{})
	g.expect(speechLimit, "coloa-tiny: booted in ", "hostname vm-one, address 10.0.2.15")
	t.Logf("first words after %.1f s", time.Since(started).Seconds())
	g.expect(speechLimit, "said-"+first+"-by-vm-one", "root-has-grown", "coloa-tiny: user-data ended with status 0")
	t.Logf("user-data has spoken after %.1f s", time.Since(started).Seconds())
	g.say("echo " + kept + " >/root/kept; echo written-$((40 + 2))")
	g.expect(speechLimit, "written-42")

	g.say("reboot")
	g.expect(speechLimit, "coloa-tiny: shutting down", "coloa-tiny: user-data has already run for instance one")
	require.Equal(t, 1, strings.Count(g.text(), "said-"), "user-data ran a second time")
	g.say("echo kept-$(cat /root/kept)")
	g.expect(speechLimit, "kept-"+kept)
	started = time.Now()
	g.powerDown(speechLimit)
	require.Equal(t, 2, strings.Count(g.text(), "coloa-tiny: shutting down"))
	t.Logf("off %.1f s after the power button", time.Since(started).Seconds())

	// A clone or a restored disk comes back as another instance: its files are there, and user-data runs again.
	g = boot(t, disk, seedTwo, bootOptions{})
	g.expect(speechLimit, "said-"+second+"-by-vm-two", "user-data ended with status 0")
	g.say("echo kept-$(cat /root/kept)")
	g.expect(speechLimit, "kept-"+kept)
	g.powerDown(speechLimit)
}

func TestTinyReadsTheSeedFromCDROM(t *testing.T) {
	t.Parallel()
	requireTools(t)
	disk := cloneDisk(t, buildImage(t, "tiny"), "256M")
	seedFile := writeSeed(t, seed{
		metaData: `{"instance-id": "i-json", "local-hostname": "from-json"}`,
		userData: "#cloud-config\nhostname: renamed\npackages: [nginx]\n",
	})
	g := boot(t, disk, seedFile, bootOptions{seedAsCDROM: true, noNetworkCard: true})
	g.expect(speechLimit, "hostname from-json, address none", "hostname is now renamed", `understands only "hostname"`)
	g.powerDown(speechLimit)
}

func TestTinySaysWhenItCannotRunUserData(t *testing.T) {
	t.Parallel()
	requireTools(t)
	disk := cloneDisk(t, buildImage(t, "tiny"), "64M")
	seedFile := writeSeed(t, seed{metaData: "instance-id: 'i-quoted'  # a comment\n", userData: "#!/usr/bin/python3\nprint(1)\n"})
	g := boot(t, disk, seedFile, bootOptions{noNetworkCard: true})
	g.expect(speechLimit, "hostname tiny, address none", "wants the interpreter /usr/bin/python3, which tiny does not have")
	g.say("echo instance-$(cat /var/lib/coloa/instance-id)")
	g.expect(speechLimit, "instance-i-quoted")
}

func TestBuildDoesNothingWhenNothingHasChanged(t *testing.T) {
	image := buildImage(t, "tiny")
	before, err := os.Stat(image)
	require.NoError(t, err)
	output, err := exec.Command("./build", "tiny").CombinedOutput()
	require.NoError(t, err)
	require.Contains(t, string(output), "tiny: up to date")
	after, err := os.Stat(image)
	require.NoError(t, err)
	require.Equal(t, before.ModTime(), after.ModTime())
}

func TestBuildRefusesUnknownImages(t *testing.T) {
	output, err := exec.Command("./build", "../tiny").CombinedOutput()
	var failure *exec.ExitError
	require.ErrorAs(t, err, &failure)
	require.Equal(t, 1, failure.ExitCode())
	require.Contains(t, string(output), "unknown image or option: ../tiny")
}
