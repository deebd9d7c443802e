package bootstrap

import "path/filepath"

// agentFile is agent.yaml as cmd/coloa-agent reads it. A test holds them equal.
type agentFile struct {
	Cluster     string   `json:"cluster"`
	Controllers []string `json:"controllers"`
	Authority   string   `json:"authority"`
	Certificate string   `json:"certificate"`
	DataDir     string   `json:"dataDir"`
	Listen      string   `json:"listen"`
	Advertise   string   `json:"advertise"`
}

func agentConfiguration(options Options, cluster string) agentFile {
	return agentFile{
		Cluster: cluster, Controllers: []string{options.reachedAt(portHosts)},
		Authority: filepath.Join(options.ConfigDir, CAFile), Certificate: filepath.Join(options.ConfigDir, HostCertificate),
		DataDir: filepath.Join(options.DataDir, "agent"), Listen: options.listenAt(portAgent), Advertise: options.reachedAt(portAgent),
	}
}
