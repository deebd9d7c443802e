// Package seed makes the small ISO image from which cloud-init in a guest learns who it is (the NoCloud data source). Contents is pure; Write
// puts it into a file.
package seed

import (
	"fmt"
	"strings"

	"sigs.k8s.io/yaml"

	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// Names of the files that cloud-init looks for.
const (
	metaDataName = "meta-data"
	userDataName = "user-data"
)

type metaData struct {
	InstanceID    string   `json:"instance-id"`
	LocalHostname string   `json:"local-hostname,omitempty"`
	PublicKeys    []string `json:"public-keys,omitempty"`
}

// Contents returns the files of the seed by name. User-data is the user's, byte for byte; without any, SSH keys make a #cloud-config.
func Contents(from v1.Seed) (map[string][]byte, error) {
	// All of it comes from users, so it goes through an encoder: a name must not become a key.
	meta, err := yaml.Marshal(metaData{InstanceID: from.InstanceID, LocalHostname: from.Hostname, PublicKeys: from.SSHKeys})
	if err != nil {
		return nil, fmt.Errorf("encode meta-data: %w", err)
	}
	user := []byte(from.UserData)
	if strings.TrimSpace(from.UserData) == "" && len(from.SSHKeys) > 0 {
		keys, err := yaml.Marshal(map[string][]string{"ssh_authorized_keys": from.SSHKeys})
		if err != nil {
			return nil, fmt.Errorf("encode user-data: %w", err)
		}
		user = append([]byte("#cloud-config\n"), keys...)
	}
	return map[string][]byte{metaDataName: meta, userDataName: user}, nil
}
