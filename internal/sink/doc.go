// Package sink writes batches to Kafka exactly once: the records of a batch and
// the checkpoint they lead to in one transaction, on one of the pipeline's
// transactional ids in turn.
//
// The order of a start is Look, Fence, Read, Resume; of a batch: topics looked
// up, transaction begun, records produced, checkpoint produced last,
// transaction committed. Whatever does not end in a clean commit makes the Sink
// useless until it is closed and started again: nothing is done twice, nothing
// is guessed.
package sink
