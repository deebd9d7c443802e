//go:build image_debian

// The image debian-12 takes a minute to build and a minute to boot without hardware acceleration, so its test is asked for by name:
// go test -tags image_debian ./deploy/images
package images

import (
	"testing"
	"time"
)

func TestDebianFinishesCloudInit(t *testing.T) {
	requireTools(t)
	disk := cloneDisk(t, buildImage(t, "debian-12"), "5G")
	word := randomWord()
	seedFile := writeSeed(t, seed{
		metaData: "instance-id: deb-1\nlocal-hostname: deb-one\n",
		userData: `#cloud-config
runcmd:
  - |
    echo said-"` + word + `"-by-$(hostname)
    df -m / | awk 'NR == 2 { print "root-has-" ($2 > 4500 ? "grown" : "not grown") }'
    test -s /etc/ssh/ssh_host_ed25519_key.pub && systemctl is-active ssh | sed s/^/ssh-is-/
    echo failed-units-$(systemctl --failed --no-legend | wc -l)
    grep -c '^[^:]*:[^!*:]' /etc/shadow | sed s/^/passwords-/
`,
	})
	started := time.Now()
	g := boot(t, disk, seedFile, bootOptions{memoryMebibytes: "768"})
	g.expect(5*time.Minute, "said-"+word+"-by-deb-one", "root-has-grown", "ssh-is-active", "failed-units-0", "passwords-0")
	g.expect(5*time.Minute, "Datasource DataSourceNoCloud")
	t.Logf("cloud-init finished after %.0f s", time.Since(started).Seconds())
	g.powerDown(2 * time.Minute)

	started = time.Now()
	g = boot(t, disk, seedFile, bootOptions{memoryMebibytes: "768"})
	g.expect(5*time.Minute, "deb-one login:")
	t.Logf("second boot took %.0f s to the log-in", time.Since(started).Seconds())
	g.powerDown(2 * time.Minute)
}
