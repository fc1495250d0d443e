// The manual pages, built into the executable: command → Markdown of docs/man/.
import adminPage from "../../docs/man/flux-admin.md" with { type: "text" };
import contentPage from "../../docs/man/flux-content.md" with { type: "text" };
import cronPage from "../../docs/man/flux-cron.md" with { type: "text" };
import dumpPage from "../../docs/man/flux-dump.md" with { type: "text" };
import fsckPage from "../../docs/man/flux-fsck.md" with { type: "text" };
import gcPage from "../../docs/man/flux-gc.md" with { type: "text" };
import restorePage from "../../docs/man/flux-restore.md" with { type: "text" };
import shutdownPage from "../../docs/man/flux-shutdown.md" with { type: "text" };
import RPage from "../../docs/man/flux-R.md" with { type: "text" };
import archivePage from "../../docs/man/flux-archive.md" with { type: "text" };
import brokerPage from "../../docs/man/flux-broker.md" with { type: "text" };
import cancelPage from "../../docs/man/flux-cancel.md" with { type: "text" };
import configPage from "../../docs/man/flux-config.md" with { type: "text" };
import configAccessPage from "../../docs/man/flux-config-access.md" with { type: "text" };
import configArchivePage from "../../docs/man/flux-config-archive.md" with { type: "text" };
import configExecPage from "../../docs/man/flux-config-exec.md" with { type: "text" };
import configFakeResourcesPage from "../../docs/man/flux-config-fake-resources.md" with { type: "text" };
import configSchedSimplePage from "../../docs/man/flux-config-sched-simple.md" with { type: "text" };
import dmesgPage from "../../docs/man/flux-dmesg.md" with { type: "text" };
import envPage from "../../docs/man/flux-env.md" with { type: "text" };
import eventPage from "../../docs/man/flux-event.md" with { type: "text" };
import execPage from "../../docs/man/flux-exec.md" with { type: "text" };
import fluxPage from "../../docs/man/flux.md" with { type: "text" };
import getattrPage from "../../docs/man/flux-getattr.md" with { type: "text" };
import helpPage from "../../docs/man/flux-help.md" with { type: "text" };
import hostlistPage from "../../docs/man/flux-hostlist.md" with { type: "text" };
import jobExecOverridePage from "../../docs/man/flux-job-exec-override.md" with { type: "text" };
import jobFrobnicatorPage from "../../docs/man/flux-job-frobnicator.md" with { type: "text" };
import jobValidatorPage from "../../docs/man/flux-job-validator.md" with { type: "text" };
import jobPage from "../../docs/man/flux-job.md" with { type: "text" };
import jobsPage from "../../docs/man/flux-jobs.md" with { type: "text" };
import housekeepingPage from "../../docs/man/flux-housekeeping.md" with { type: "text" };
import jobtapPage from "../../docs/man/flux-jobtap.md" with { type: "text" };
import jobtapPluginsPage from "../../docs/man/flux-jobtap-plugins.md" with { type: "text" };
import keygenPage from "../../docs/man/flux-keygen.md" with { type: "text" };
import kvsPage from "../../docs/man/flux-kvs.md" with { type: "text" };
import loggerPage from "../../docs/man/flux-logger.md" with { type: "text" };
import lptestPage from "../../docs/man/flux-lptest.md" with { type: "text" };
import lsattrPage from "../../docs/man/flux-lsattr.md" with { type: "text" };
import modprobePage from "../../docs/man/flux-modprobe.md" with { type: "text" };
import modulePage from "../../docs/man/flux-module.md" with { type: "text" };
import modulePythonExecPage from "../../docs/man/flux-module-python-exec.md" with { type: "text" };
import overlayPage from "../../docs/man/flux-overlay.md" with { type: "text" };
import perilogRunPage from "../../docs/man/flux-perilog-run.md" with { type: "text" };
import pgrepPage from "../../docs/man/flux-pgrep.md" with { type: "text" };
import pingPage from "../../docs/man/flux-ping.md" with { type: "text" };
import pkillPage from "../../docs/man/flux-pkill.md" with { type: "text" };
import postJobEventPage from "../../docs/man/flux-post-job-event.md" with { type: "text" };
import pythonPage from "../../docs/man/flux-python.md" with { type: "text" };
import queuePage from "../../docs/man/flux-queue.md" with { type: "text" };
import resourcePage from "../../docs/man/flux-resource.md" with { type: "text" };
import runPage from "../../docs/man/flux-run.md" with { type: "text" };
import pmiPage from "../../docs/man/flux-pmi.md" with { type: "text" };
import setattrPage from "../../docs/man/flux-setattr.md" with { type: "text" };
import shellPage from "../../docs/man/flux-shell.md" with { type: "text" };
import shellInitrcPage from "../../docs/man/flux-shell-initrc.md" with { type: "text" };
import sprocPage from "../../docs/man/flux-sproc.md" with { type: "text" };
import startPage from "../../docs/man/flux-start.md" with { type: "text" };
import startlogPage from "../../docs/man/flux-startlog.md" with { type: "text" };
import slurmExpirationSyncPage from "../../docs/man/flux-slurm-expiration-sync.md" with { type: "text" };
import submissionPluginsPage from "../../docs/man/flux-submission-plugins.md" with { type: "text" };
import submitPage from "../../docs/man/flux-submit.md" with { type: "text" };
import uptimePage from "../../docs/man/flux-uptime.md" with { type: "text" };
import updatePage from "../../docs/man/flux-update.md" with { type: "text" };
import versionPage from "../../docs/man/flux-version.md" with { type: "text" };
import watchPage from "../../docs/man/flux-watch.md" with { type: "text" };
import allocPage from "../../docs/man/flux-alloc.md" with { type: "text" };
import batchPage from "../../docs/man/flux-batch.md" with { type: "text" };
import bulksubmitPage from "../../docs/man/flux-bulksubmit.md" with { type: "text" };
import proxyPage from "../../docs/man/flux-proxy.md" with { type: "text" };
import relayPage from "../../docs/man/flux-relay.md" with { type: "text" };
import uriPage from "../../docs/man/flux-uri.md" with { type: "text" };
import topPage from "../../docs/man/flux-top.md" with { type: "text" };
import pstreePage from "../../docs/man/flux-pstree.md" with { type: "text" };
import multiProgPage from "../../docs/man/flux-multi-prog.md" with { type: "text" };
import configBootstrapPage from "../../docs/man/flux-config-bootstrap.md" with { type: "text" };
import configHeartbeatPage from "../../docs/man/flux-config-heartbeat.md" with { type: "text" };
import configIngestPage from "../../docs/man/flux-config-ingest.md" with { type: "text" };
import configJobManagerPage from "../../docs/man/flux-config-job-manager.md" with { type: "text" };
import configKvsPage from "../../docs/man/flux-config-kvs.md" with { type: "text" };
import configPolicyPage from "../../docs/man/flux-config-policy.md" with { type: "text" };
import configQueuesPage from "../../docs/man/flux-config-queues.md" with { type: "text" };
import configResourcePage from "../../docs/man/flux-config-resource.md" with { type: "text" };
import configTbonPage from "../../docs/man/flux-config-tbon.md" with { type: "text" };
import brokerAttributesPage from "../../docs/man/flux-broker-attributes.md" with { type: "text" };
import environmentPage from "../../docs/man/flux-environment.md" with { type: "text" };

export const MAN_PAGES: Readonly<Record<string, string>> = {
  R: RPage,
  archive: archivePage,
  admin: adminPage,
  content: contentPage,
  cron: cronPage,
  dump: dumpPage,
  fsck: fsckPage,
  gc: gcPage,
  restore: restorePage,
  shutdown: shutdownPage,
  broker: brokerPage,
  cancel: cancelPage,
  config: configPage,
  "config-access": configAccessPage,
  "config-archive": configArchivePage,
  "config-exec": configExecPage,
  "config-fake-resources": configFakeResourcesPage,
  "config-sched-simple": configSchedSimplePage,
  dmesg: dmesgPage,
  env: envPage,
  event: eventPage,
  exec: execPage,
  flux: fluxPage,
  getattr: getattrPage,
  help: helpPage,
  hostlist: hostlistPage,
  job: jobPage,
  "job-exec-override": jobExecOverridePage,
  "job-frobnicator": jobFrobnicatorPage,
  "job-validator": jobValidatorPage,
  jobs: jobsPage,
  housekeeping: housekeepingPage,
  jobtap: jobtapPage,
  keygen: keygenPage,
  "jobtap-plugins": jobtapPluginsPage,
  kvs: kvsPage,
  logger: loggerPage,
  lptest: lptestPage,
  lsattr: lsattrPage,
  modprobe: modprobePage,
  module: modulePage,
  "module-python-exec": modulePythonExecPage,
  overlay: overlayPage,
  "perilog-run": perilogRunPage,
  pgrep: pgrepPage,
  ping: pingPage,
  pkill: pkillPage,
  "post-job-event": postJobEventPage,
  python: pythonPage,
  queue: queuePage,
  resource: resourcePage,
  run: runPage,
  pmi: pmiPage,
  setattr: setattrPage,
  shell: shellPage,
  "shell-initrc": shellInitrcPage,
  sproc: sprocPage,
  start: startPage,
  startlog: startlogPage,
  "slurm-expiration-sync": slurmExpirationSyncPage,
  "submission-plugins": submissionPluginsPage,
  submit: submitPage,
  uptime: uptimePage,
  update: updatePage,
  version: versionPage,
  watch: watchPage,
  alloc: allocPage,
  batch: batchPage,
  bulksubmit: bulksubmitPage,
  proxy: proxyPage,
  relay: relayPage,
  uri: uriPage,
  top: topPage,
  pstree: pstreePage,
  "multi-prog": multiProgPage,
  "config-bootstrap": configBootstrapPage,
  "config-heartbeat": configHeartbeatPage,
  "config-ingest": configIngestPage,
  "config-job-manager": configJobManagerPage,
  "config-kvs": configKvsPage,
  "config-policy": configPolicyPage,
  "config-queues": configQueuesPage,
  "config-resource": configResourcePage,
  "config-tbon": configTbonPage,
  "broker-attributes": brokerAttributesPage,
  environment: environmentPage,
  // Names that people who know Flux look for.
  "shell-options": shellPage,
  "shell-plugins": shellInitrcPage,
};
