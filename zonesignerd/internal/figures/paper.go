package figures

// Paper is what Dalskov, Orlandi, Keller, Shrishak and Shulman, "Securing
// DNSSEC Keys via Threshold ECDSA From Generic MPC", measured for a protocol in
// one of its settings: AWS c5.2xlarge, threshold 1. Times in ms.
type Paper struct {
	Row                  string  `json:"row"`                    // of Tables 1, 2 and 3
	SignatureMS          float64 `json:"signature_ms"`           // Table 1, Sig
	KeygenMS             float64 `json:"keygen_ms"`              // Table 1, KGen
	KeygenSecretMS       float64 `json:"keygen_secret_ms"`       // Table 2, Secret
	KeygenPublicMS       float64 `json:"keygen_public_ms"`       // Table 2, Public
	TuplesPerSecond      float64 `json:"tuples_per_second"`      // Table 3, Tuples per sec.
	AmortisedSignatureMS float64 `json:"amortised_signature_ms"` // Table 3, Sig
}

// paperFigures are the rows of Tables 1, 2 and 3; columns LAN, Continental WAN
// and Worldwide WAN, in the order of Settings.
var paperFigures = []struct {
	engine string
	n      int
	cells  [3]Paper
}{
	{"rep3", 3, [3]Paper{
		{"Rep3", 2.78, 1.45, 0.18, 1.27, 922.27, 2.49},
		{"Rep3", 27.22, 29.44, 11.13, 18.31, 898.25, 19.91},
		{"Rep3", 367.87, 291.32, 118.59, 172.73, 715.54, 247.13},
	}},
	{"shamir", 3, [3]Paper{
		{"Shamir", 3.02, 1.39, 0.26, 1.13, 1829.69, 2.37},
		{"Shamir", 78.75, 35.52, 17.30, 18.21, 1544.31, 20.62},
		{"Shamir", 1140.09, 486.82, 243.00, 243.82, 402.88, 271.80},
	}},
	{"mal-rep3", 3, [3]Paper{
		{"Mal. Rep3", 3.45, 1.57, 0.16, 1.40, 914.65, 2.52},
		{"Mal. Rep3", 82.14, 39.97, 11.00, 28.98, 806.13, 20.07},
		{"Mal. Rep3", 1128.01, 429.47, 115.49, 313.98, 309.76, 245.14},
	}},
	{"mal-shamir", 3, [3]Paper{
		{"Mal. Shamir", 4.43, 1.89, 0.25, 1.64, 1792.30, 2.91},
		{"Mal. Shamir", 174.95, 37.35, 17.98, 19.37, 1154.30, 27.03},
		{"Mal. Shamir", 2340.53, 485.11, 241.87, 243.24, 172.87, 416.60},
	}},
	{"mascot", 2, [3]Paper{
		{"MASCOT", 6.56, 4.32, 2.34, 1.91, 380.19, 4.82},
		{"MASCOT", 196.19, 185.71, 149.26, 36.45, 233.73, 57.02},
		{"MASCOT", 2688.92, 2632.07, 2142.31, 489.77, 31.98, 756.34},
	}},
	{"mascot-minus", 2, [3]Paper{
		{"MASCOT-", 3.61, 4.41, 2.46, 1.96, 700.94, 2.75},
		{"MASCOT-", 54.38, 181.12, 145.48, 35.64, 447.85, 20.37},
		{"MASCOT-", 729.08, 2654.59, 2169.54, 485.05, 68.31, 258.85},
	}},
}

// Prior is a row of Table 1 that is none of the paper's own protocols.
type Prior struct {
	Name                  string
	N                     int
	SignatureMS, KeygenMS [3]float64 // in the order of Settings
}

// PriorWork is what Table 1 compares with.
var PriorWork = []Prior{
	{"DKLS [20]", 2, [3]float64{3.58, 15.33, 234.37}, [3]float64{43.73, 109.80, 1002.97}},
	{"Unbound [43]", 2, [3]float64{11.33, 31.08, 490.73}, [3]float64{315.96, 424.02, 1010.98}},
	{"Kzen [36]", 2, [3]float64{310.71, 1282.81, 14441.83}, [3]float64{153.87, 577.67, 7237.93}},
}

// paperOf finds what the paper has of the same; nil when it has none.
func paperOf(engine string, n, t int, s Setting) *Paper {
	for _, row := range paperFigures {
		for i, setting := range Settings {
			if row.engine == engine && row.n == n && t == 1 && setting == s {
				cell := row.cells[i]
				return &cell
			}
		}
	}
	return nil
}
