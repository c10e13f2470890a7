package figures

import (
	"fmt"
	"time"
)

// Setting is how far apart operators are.
type Setting struct {
	Name      string
	RoundTrip time.Duration // added to what the machine itself takes
}

// LAN adds nothing.
const LAN = "lan"

// maxRoundTrip keeps within the time-outs of connections.
const maxRoundTrip = time.Second

// Settings are those of the paper's section 6: its largest round trips, of
// which the first is 0.08 ms.
var Settings = []Setting{{LAN, 0}, {"17ms", 17 * time.Millisecond}, {"240ms", 240 * time.Millisecond}}

// ParseSetting takes "lan", or a round trip like "17ms".
func ParseSetting(text string) (Setting, error) {
	if text == LAN {
		return Settings[0], nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 || d > maxRoundTrip {
		return Setting{}, fmt.Errorf("setting %q: want %s, or a round trip up to %v, such as 17ms", text, LAN, maxRoundTrip)
	}
	return Setting{d.String(), d}, nil
}
