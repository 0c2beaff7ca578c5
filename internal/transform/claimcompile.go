package transform

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cdc-relay/cdc-relay/internal/contract"
	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/transform/avrojson"
)

// RefSchema is the name of the record that stands for what was claimed: a branch
// of the field's union, and the schema of whole values.
const RefSchema = "ArtifactRef"

// compileClaim compiles the claim rule of a form whose versions are known; nil:
// it has none. That a reference fits the schema is found out here, by encoding
// one.
func (t *Transformer) compileClaim(rule *contract.Claim, f *form) (*claim, error) {
	if !rule.On() {
		return nil, nil
	}
	if t.opts.ClaimBase == "" {
		return nil, errors.New(`claim_check: there is no bucket; write claim_check: {bucket: "s3://…"} into the configuration`)
	}
	c := &claim{rule: *rule, over: rule.Over, ref: newRefShape(rule, nil), at: map[*version][]*claimSlot{}}
	if rule.Payload {
		if f.encoding != contract.Avro {
			return c, nil
		}
		return c, t.compileReference(c)
	}
	paths := make([]*jsonPath, len(rule.Fields))
	for i, p := range rule.Fields {
		paths[i] = newPath(p)
	}
	c.places = newPlaces(paths)
	for _, v := range f.versions {
		if err := t.compileSlots(c, f, v); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// compileReference finds the schema of references and tries it.
func (t *Transformer) compileReference(c *claim) error {
	var schema Schema
	ok := false
	if t.opts.Schemas != nil {
		schema, ok = t.opts.Schemas(RefSchema, 0)
	}
	if !ok {
		return fmt.Errorf("claim_check: payload: true on an Avro event needs the schema of references; add %s.avsc to the schemas", RefSchema)
	}
	field, _, err := avrojson.CompileField(schema.Text, nil)
	if err != nil {
		return fmt.Errorf("%s.avsc: %w", RefSchema, err)
	}
	at, ok := field.Branch(RefSchema)
	if !ok {
		return fmt.Errorf("claim_check: %s.avsc holds no record %s", RefSchema, RefSchema)
	}
	shape, err := t.refShapeOf(&c.rule, field, at)
	if err != nil {
		return fmt.Errorf("claim_check: %s.avsc: %w", RefSchema, err)
	}
	c.ref, c.avro = shape, &version{id: uint32(schema.ID), enc: field.NewEncoder()}
	return nil
}

// compileSlots finds the fields of a rule in one version of a schema. Versions
// before the newest may lack room for a reference: rows of theirs are under way
// while a schema is widened, and keep their field inline.
func (t *Transformer) compileSlots(c *claim, f *form, v *version) error {
	schema, _ := t.opts.Schemas(f.schema, v.number)
	newest := v == f.versions[len(f.versions)-1]
	slots := make([]*claimSlot, len(c.rule.Fields))
	for i, p := range c.rule.Fields {
		names := make([]string, len(p))
		for k, s := range p {
			names[k] = s.Name
		}
		field, found, err := avrojson.CompileField(schema.Text, names)
		switch {
		case err != nil:
			return fmt.Errorf("schema %sV%d: %w", f.schema, v.number, err)
		case !found && newest:
			return fmt.Errorf("claim_check: schema %sV%d has no field %s", f.schema, v.number, p)
		case !found:
			continue
		}
		at, ok := field.Branch(RefSchema)
		switch {
		case !ok && newest:
			return fmt.Errorf(`claim_check: the field %s of %sV%d is %s, which takes no reference; add %q to its union, as in ["string", %[5]q], or publish with encoding: json`,
				p, f.schema, v.number, field.Type(), RefSchema)
		case !ok:
			continue
		case !field.Union():
			return fmt.Errorf("claim_check: the field %s of %sV%d is a reference already; leave it out", p, f.schema, v.number)
		}
		shape, err := t.refShapeOf(&c.rule, field, at)
		if err != nil {
			return fmt.Errorf("claim_check: the field %s of %sV%d: %w", p, f.schema, v.number, err)
		}
		slots[i] = &claimSlot{field: field, enc: field.NewEncoder(), ref: shape}
	}
	c.at[v] = slots
	return nil
}

// refShapeOf is the shape of references that the record at a branch of field
// takes. One is encoded, to be sure, and that it ends up in this branch.
func (t *Transformer) refShapeOf(rule *contract.Claim, field *avrojson.Field, at int) (refShape, error) {
	names, required := field.Members(at)
	for _, name := range []string{"uri", "bytes", "sha256"} {
		if !slices.Contains(names, name) {
			return refShape{}, fmt.Errorf("%s has no field %s, without which nobody finds and checks the object; add it", field.Name(at), name)
		}
	}
	for _, name := range names {
		if required[name] && !slices.Contains(refNames, name) {
			return refShape{}, fmt.Errorf("%s wants a field %s, which the relay does not know; give it a default", field.Name(at), name)
		}
	}
	if rule.Type == "" && required["type"] {
		return refShape{}, fmt.Errorf("%s wants a type; write claim_check: {type: SYMBOL}, one of its enum", field.Name(at))
	}
	shape := newRefShape(rule, func(name string) bool { return slices.Contains(names, name) })
	sample := event.Blob{ContentType: rule.ContentType, Data: make([]byte, 1)}
	if sample.ContentType == "" {
		sample.ContentType = mediaText
	}
	text := shape.append(nil, t.opts.ClaimBase, &sample)
	out, err := field.NewEncoder().Append(nil, text)
	if err != nil {
		return refShape{}, fmt.Errorf("a reference does not fit %s: %w", field.Name(at), err)
	}
	if !field.Union() {
		return shape, nil
	}
	if branch, _ := binary.Varint(out); int(branch) != at {
		return refShape{}, fmt.Errorf("a reference fits the branch %s of its union, which comes before %s; put %[2]s first",
			field.Name(int(branch)), field.Name(at))
	}
	return shape, nil
}
