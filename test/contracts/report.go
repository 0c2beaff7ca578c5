package contracts

import (
	"encoding/json"
	"os"
)

// Report is build/contracts.json.
type Report struct {
	FuzzDocuments   int `json:"fuzz.documents"`
	FuzzSchemas     int `json:"fuzz.schemas"`
	FuzzAvro        int `json:"fuzz.avro"`         // records the other implementation decoded to their last byte
	FuzzDeadLetters int `json:"fuzz.dead_letters"` // with a path and a rule
	FuzzUndecodable int `json:"fuzz.undecodable"`

	PoisonEvents       int `json:"poison.events"`
	PoisonDelivered    int `json:"poison.delivered"`    // before the redrive
	PoisonDeadLetters  int `json:"poison.dead_letters"` // with those parked behind one
	PoisonKills        int `json:"poison.kills"`
	PoisonAfterRedrive int `json:"poison.after_redrive"`
	PoisonOutOfOrder   int `json:"poison.out_of_order"`

	DualPairs  int `json:"dual.pairs"`
	DualHalves int `json:"dual.halves"` // pairs of which a consumer saw one half

	KeysJavaEqual int `json:"keys.java_equal"`
}

// Write writes the report to a file.
func (r *Report) Write(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o600)
}
