package figures

import (
	"bufio"
	"os"
	"runtime"
	"strings"
)

// Machine is where figures come from.
type Machine struct {
	CPU     string `json:"cpu"` // model, "" when the system does not say
	Cores   int    `json:"cores"`
	Go      string `json:"go"`
	OS      string `json:"os"`      // system and architecture, as "linux/amd64"
	Version string `json:"version"` // of this program
}

// ThisMachine describes the one that this process runs on.
func ThisMachine(version string) Machine {
	return Machine{CPU: processor(), Cores: runtime.NumCPU(), Go: runtime.Version(), OS: runtime.GOOS + "/" + runtime.GOARCH, Version: version}
}

// processor reads the model's name where Linux shows it.
func processor() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
