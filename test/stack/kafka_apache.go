package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// kafkaRelease is the Apache Kafka of the kind apache.
const kafkaRelease = "4.4.0"

// kafkaPOM names the jars; Maven finds what they need. log4j-slf4j-impl is the
// binding for the SLF4J 1.7 that Kafka uses.
const kafkaPOM = `<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>cdc-relay</groupId><artifactId>test-stack</artifactId><version>1</version><packaging>pom</packaging>
<dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>` + kafkaRelease + `</version></dependency>
<dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.25.5</version></dependency>
</dependencies></project>
`

const kafkaLogging = `rootLogger.level=warn
logger.fence.name=org.apache.kafka.controller.ReplicationControlManager
logger.fence.level=info
rootLogger.appenderRef.out.ref=out
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d{HH:mm:ss.SSS} %p %c{1} %m%n
`

// apache runs a cluster of Apache Kafka in KRaft mode.
//
// A cluster whose brokers may be killed has a controller of its own beside them,
// and a killed broker is started again only after the controller fenced it.
// Otherwise commits are lost (seen on 4.4.0, five of nine kills right after a
// commit): a broker that restarts sooner than its session ends leads its
// partitions by old metadata, its transaction coordinator tries to write the
// markers that the kill prevented, is fenced while it tries, takes "no leader"
// for "partition deleted", and completes the transaction without its marker:
// read_committed consumers then wait for ever. A cluster that is never killed
// is smaller and sooner there with brokers that are controllers too.
type apache struct {
	stack     *Stack
	java      java
	classPath string
	archive   string // folder of the class archive and of formatted storage
	config    brokerConfig
	base      string
	clusterID string
	nodes     []*apacheNode // the brokers
	control   *apacheNode   // nil: the brokers are controllers too
}

type apacheNode struct {
	id            int
	roles         string // process.roles
	dir           string // server.properties, data, log
	client, voter *lease // nil without that role
	outer         *outer // nil: no fault proxy
	proc          *proc
	// killed is the length of the controller's log when the broker was killed;
	// 0 when it was not.
	killed int64
}

// kafkaJars downloads the jars once.
func (c *cache) kafkaJars(ctx context.Context) (string, error) {
	return c.once(ctx, "kafka-"+kafkaRelease, func(dir string) error {
		start := time.Now()
		c.out.line("downloading Apache Kafka %s (Maven)", kafkaRelease)
		if err := os.WriteFile(filepath.Join(dir, "pom.xml"), []byte(kafkaPOM), 0o644); err != nil {
			return err
		}
		err := c.maven(ctx, dir, "copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory="+dir)
		if err != nil {
			return err
		}
		c.out.line("downloaded Apache Kafka %s in %.1f s", kafkaRelease, time.Since(start).Seconds())
		return nil
	})
}

// newApache starts a cluster.
func (s *Stack) newApache(ctx context.Context, c brokerConfig) (_ *Kafka, err error) {
	j, err := findJava(ctx)
	if err != nil {
		return nil, err
	}
	lib, err := s.cache.kafkaJars(ctx)
	if err != nil {
		return nil, err
	}
	classPath, err := jars(lib)
	if err != nil {
		return nil, err
	}
	archive, err := s.archive(ctx, "kafka-"+kafkaRelease, j, classPath, func(options []string, dir string) (*proc, error) {
		return s.trainApache(ctx, j, classPath, options, dir)
	})
	if err != nil {
		return nil, err
	}
	a := &apache{stack: s, java: j, classPath: classPath, archive: archive, config: c}
	if err := a.prepare(); err != nil {
		return nil, errors.Join(err, a.close())
	}
	done, err := s.cache.turn(ctx)
	if err == nil {
		err = a.start(ctx, nil)
		done()
	}
	if err != nil {
		return nil, errors.Join(err, a.close())
	}
	info := KafkaInfo{Bootstrap: a.bootstrap(), Kind: "apache"}
	for _, n := range a.nodes {
		info.Logs = append(info.Logs, n.log())
	}
	return &Kafka{info: info, server: a, own: true, proxies: a.proxies()}, nil
}

// trainApache formats a cluster with Kafka's own tool, keeps the checkpoint
// file it makes for later clusters, and starts a broker until it is ready.
func (s *Stack) trainApache(ctx context.Context, j java, classPath string, options []string, dir string) (*proc, error) {
	a := &apache{stack: s, java: j, classPath: classPath, config: brokerConfig{brokers: 1}}
	defer func() { // the broker runs on; its folder goes with the stack
		for _, n := range a.all() {
			n.release()
		}
	}()
	if err := a.layOut(); err != nil {
		return nil, err
	}
	n := a.nodes[0]
	format := exec.CommandContext(ctx, j.path, append(quick(), "-cp", classPath, "kafka.tools.StorageTool",
		"format", "-t", a.clusterID, "-c", n.properties())...)
	format.Dir = n.dir
	if out, err := format.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("format Kafka's storage: %w\n%s", err, out)
	}
	if err := os.CopyFS(filepath.Join(dir, "formatted"), os.DirFS(filepath.Join(n.dir, "data"))); err != nil {
		return nil, fmt.Errorf("keep the formatted storage: %w", err)
	}
	if err := a.launch(n, options); err != nil {
		return nil, err
	}
	return n.proc, brokersReady(ctx, a.bootstrap(), 1, n.running)
}

func (n *apacheNode) properties() string { return filepath.Join(n.dir, "server.properties") }
func (n *apacheNode) log() string        { return filepath.Join(n.dir, "server.log") }

// running is nil as long as the broker runs.
func (n *apacheNode) running() error {
	if n.proc.exited() {
		return n.proc.failure("did not start")
	}
	return nil
}

func (n *apacheNode) release() {
	for _, l := range []*lease{n.client, n.voter} {
		if l != nil {
			l.release()
		}
	}
	_ = n.outer.close() // its connections end with it; nothing is left to do about an error
}

// launch starts one broker's process.
func (a *apache) launch(n *apacheNode, options []string) error {
	args := append(slices.Clone(options), "-Xmx512m")
	if a.config.bench {
		args = append(args[:0:0], "-XX:+UseG1GC", "-Xmx1g", "-Xms1g")
	} else {
		args = append(args, quick()...)
	}
	args = append(args, "-Dlog4j2.configurationFile="+filepath.Join(a.base, "log4j2.properties"),
		"-Djava.awt.headless=true", "-cp", a.classPath, "kafka.Kafka", n.properties())
	p, err := a.stack.guard.start(command{
		name: "kafka " + strconv.Itoa(n.id), path: a.java.path, args: args, dir: n.dir, log: n.log(), ask: "KILL",
	})
	if err != nil {
		return err
	}
	n.proc = p
	return nil
}

func (a *apache) bootstrap() string {
	var all []string
	for _, n := range a.nodes {
		all = append(all, n.client.addr())
	}
	return strings.Join(all, ",")
}

// chosen returns the nodes of the given numbers, all of them without any.
func (a *apache) chosen(ids []int) ([]*apacheNode, error) {
	if len(ids) == 0 {
		return a.nodes, nil
	}
	var nodes []*apacheNode
	for _, id := range ids {
		if id < 1 || id > len(a.nodes) {
			return nil, fmt.Errorf("there is no broker %d: 1 to %d", id, len(a.nodes))
		}
		nodes = append(nodes, a.nodes[id-1])
	}
	return nodes, nil
}

// each calls f for the chosen nodes and joins the errors.
func (a *apache) each(ids []int, f func(*apacheNode) error) error {
	nodes, err := a.chosen(ids)
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range nodes {
		errs = append(errs, f(n))
	}
	return errors.Join(errs...)
}

func (a *apache) start(ctx context.Context, ids []int) error {
	if a.control != nil && a.control.proc == nil {
		if err := a.launch(a.control, useArchive(a.archive)); err != nil {
			return err
		}
	}
	err := a.each(ids, func(n *apacheNode) error {
		if n.proc != nil && !n.proc.exited() {
			return fmt.Errorf("broker %d is running", n.id)
		}
		a.awaitFence(ctx, n)
		return a.launch(n, useArchive(a.archive))
	})
	if err != nil {
		return err
	}
	up := 0
	for _, n := range a.nodes {
		if n.proc != nil && !n.proc.exited() {
			up++
		}
	}
	nodes, _ := a.chosen(ids) // checked above
	for _, n := range nodes {
		if err := brokersReady(ctx, n.client.addr(), up, n.running); err != nil {
			return err
		}
	}
	return nil
}

// stop asks all chosen brokers first and waits then: with a majority gone the
// rest cannot finish a controlled shutdown, and is killed after half a minute.
func (a *apache) stop(_ context.Context, ids []int) error {
	err := a.each(ids, func(n *apacheNode) error { return n.proc.signal(syscall.SIGTERM) })
	if err != nil {
		return err
	}
	return a.each(ids, func(n *apacheNode) error {
		if n.proc.wait(30*time.Second) == nil {
			return nil
		}
		return n.proc.killTree()
	})
}

func (a *apache) kill(ids []int) error {
	return a.each(ids, func(n *apacheNode) error {
		if a.control != nil {
			st, err := os.Stat(a.control.log())
			if err != nil {
				return err
			}
			n.killed = st.Size()
		}
		return n.proc.killTree()
	})
}

// awaitFence waits until the controller says that it fenced a killed broker. It
// says nothing about one it had fenced before the kill (a frozen one), so the
// wait ends well after the session did, too.
func (a *apache) awaitFence(ctx context.Context, n *apacheNode) {
	if n.killed == 0 {
		return
	}
	session, err := strconv.Atoi(a.settings(n)["broker.session.timeout.ms"])
	if own, ok := a.config.settings["broker.session.timeout.ms"]; ok {
		session, err = strconv.Atoi(own)
	}
	if err != nil {
		session = 9000 // Kafka refused it, or will
	}
	said := []byte(fmt.Sprintf("Fencing broker %d at epoch", n.id))
	poll(time.Duration(session)*time.Millisecond+3*time.Second, 10*time.Millisecond, func() bool {
		log, err := os.ReadFile(a.control.log())
		return ctx.Err() != nil || err == nil && bytes.Contains(log[min(n.killed, int64(len(log))):], said)
	})
	n.killed = 0
}

func (a *apache) pause(ids []int) error {
	return a.each(ids, func(n *apacheNode) error { return n.proc.pauseTree() })
}

func (a *apache) resume(ids []int) error {
	return a.each(ids, func(n *apacheNode) error { return n.proc.resumeTree() })
}

// close kills all nodes; their data is not needed any more.
func (a *apache) close() error {
	var errs []error
	for _, n := range a.all() {
		if n.proc != nil {
			errs = append(errs, n.proc.killTree())
		}
		n.release()
	}
	return errors.Join(append(errs, a.stack.guard.removeDir(a.base))...)
}
