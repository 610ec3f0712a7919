BEGIN TRANSACTION;
CREATE TABLE experiment (
	id INTEGER NOT NULL, 
	experiment_id VARCHAR(200) NOT NULL, 
	uid VARCHAR(32) NOT NULL, 
	model VARCHAR(63) NOT NULL, 
	learning_rate DOUBLE NOT NULL, 
	epoch INTEGER NOT NULL, 
	dataset VARCHAR(255), 
	status VARCHAR(16) NOT NULL, 
	attempt INTEGER NOT NULL, 
	job VARCHAR(63) NOT NULL, 
	reason VARCHAR(64), 
	message TEXT, 
	remedy TEXT, 
	created_at DATETIME NOT NULL, 
	updated_at DATETIME NOT NULL, 
	started_at DATETIME, 
	finished_at DATETIME, cancel_requested_at DATETIME, cancel_requested_by VARCHAR(64), 
	PRIMARY KEY (id), 
	CONSTRAINT uq_experiment_experiment_id UNIQUE (experiment_id)
);
INSERT INTO "experiment" VALUES(1,'first','db6947fbcea74c4a818760c7c0d039ee','autoencoder',0.001,3,NULL,'succeeded',1,'autoencoder-first-jownfstl6ue3-1',NULL,NULL,NULL,'2026-11-30 11:42:56.186522','2026-11-30 11:43:05.584514','2026-11-30 11:42:56.264270','2026-11-30 11:43:05.520211',NULL,NULL);
INSERT INTO "experiment" VALUES(2,'실험 1','3e6256a51f1b4a1ba41e27ba8ec389d0','autoencoder',0.01,2,'digits.npz','succeeded',1,'autoencoder-1-4rrrpzarocsk-1',NULL,NULL,NULL,'2026-11-30 11:43:06.449294','2026-11-30 11:43:23.987613','2026-11-30 11:43:06.593686','2026-11-30 11:43:23.915326',NULL,NULL);
INSERT INTO "experiment" VALUES(3,'failed','524369a353104a69a7f293349908d104','autoencoder',0.01,2,'bad.csv','failed',1,'autoencoder-failed-4s5tfjmq4l42-1','input_unusable','The trainer cannot use its input: error: bad.csv cannot be read: could not convert string ''x'' to float32 at row 0, column 2.','Mend the input and retry, or start a run with other parameters.','2026-11-30 11:43:24.722808','2026-11-30 11:43:25.963872','2026-11-30 11:43:24.978160','2026-11-30 11:43:25.915913',NULL,NULL);
INSERT INTO "experiment" VALUES(4,'cancelled','8729e016428d44b485e0b22e717c21a6','autoencoder',0.001,100000,NULL,'cancelled',1,'autoencoder-cancelled-dk3jebjd2j7k-1',NULL,NULL,NULL,'2026-11-30 11:43:27.092073','2026-11-30 11:43:35.479417','2026-11-30 11:43:27.246098','2026-11-30 11:43:35.438930','2026-11-30 11:43:35.326212',NULL);
INSERT INTO "experiment" VALUES(5,'retried','24c5714d02104041b418ebf100a584fc','autoencoder',0.001,100000,NULL,'cancelled',2,'autoencoder-retried-yaww3rf4mtis-2',NULL,NULL,NULL,'2026-11-30 11:43:56.824622','2026-11-30 11:44:10.182406','2026-11-30 11:44:04.747120','2026-11-30 11:44:10.063584','2026-11-30 11:44:09.812679',NULL);
CREATE TABLE hello_flask_schema (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT hello_flask_schema_pkc PRIMARY KEY (version_num)
);
INSERT INTO "hello_flask_schema" VALUES('0013');
CREATE TABLE "transition" (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	experiment INTEGER NOT NULL, 
	attempt INTEGER NOT NULL, 
	from_status VARCHAR(16), 
	to_status VARCHAR(16) NOT NULL, 
	reason VARCHAR(64), 
	at DATETIME NOT NULL, 
	actor VARCHAR(64), 
	CONSTRAINT fk_transition_experiment FOREIGN KEY(experiment) REFERENCES experiment (id) ON DELETE CASCADE
);
INSERT INTO "transition" VALUES(1,1,1,NULL,'submitting',NULL,'2026-11-30 11:42:56.186522',NULL);
INSERT INTO "transition" VALUES(2,1,1,'submitting','queued',NULL,'2026-11-30 11:42:56.260877',NULL);
INSERT INTO "transition" VALUES(3,1,1,'queued','running',NULL,'2026-11-30 11:42:56.303202',NULL);
INSERT INTO "transition" VALUES(4,1,1,'running','succeeded',NULL,'2026-11-30 11:43:05.520211',NULL);
INSERT INTO "transition" VALUES(5,2,1,NULL,'submitting',NULL,'2026-11-30 11:43:06.449294',NULL);
INSERT INTO "transition" VALUES(6,2,1,'submitting','queued',NULL,'2026-11-30 11:43:06.593525',NULL);
INSERT INTO "transition" VALUES(7,2,1,'queued','running',NULL,'2026-11-30 11:43:06.709017',NULL);
INSERT INTO "transition" VALUES(8,2,1,'running','succeeded',NULL,'2026-11-30 11:43:23.915326',NULL);
INSERT INTO "transition" VALUES(9,3,1,NULL,'submitting',NULL,'2026-11-30 11:43:24.722808',NULL);
INSERT INTO "transition" VALUES(10,3,1,'submitting','queued',NULL,'2026-11-30 11:43:24.965524',NULL);
INSERT INTO "transition" VALUES(11,3,1,'queued','running',NULL,'2026-11-30 11:43:25.011164',NULL);
INSERT INTO "transition" VALUES(12,3,1,'running','failed','input_unusable','2026-11-30 11:43:25.915913',NULL);
INSERT INTO "transition" VALUES(13,4,1,NULL,'submitting',NULL,'2026-11-30 11:43:27.092073',NULL);
INSERT INTO "transition" VALUES(14,4,1,'submitting','queued',NULL,'2026-11-30 11:43:27.230250',NULL);
INSERT INTO "transition" VALUES(15,4,1,'queued','running',NULL,'2026-11-30 11:43:27.323678',NULL);
INSERT INTO "transition" VALUES(16,4,1,'running','cancelled',NULL,'2026-11-30 11:43:35.438930',NULL);
INSERT INTO "transition" VALUES(21,5,1,NULL,'submitting',NULL,'2026-11-30 11:43:56.824622',NULL);
INSERT INTO "transition" VALUES(22,5,1,'submitting','queued',NULL,'2026-11-30 11:43:56.973461',NULL);
INSERT INTO "transition" VALUES(23,5,1,'queued','running',NULL,'2026-11-30 11:43:57.100388',NULL);
INSERT INTO "transition" VALUES(24,5,1,'running','cancelled',NULL,'2026-11-30 11:44:03.080745',NULL);
INSERT INTO "transition" VALUES(25,5,2,'cancelled','submitting','retry','2026-11-30 11:44:04.576055',NULL);
INSERT INTO "transition" VALUES(26,5,2,'submitting','queued',NULL,'2026-11-30 11:44:04.745431',NULL);
INSERT INTO "transition" VALUES(27,5,2,'queued','running',NULL,'2026-11-30 11:44:04.877697',NULL);
INSERT INTO "transition" VALUES(28,5,2,'running','cancelled',NULL,'2026-11-30 11:44:10.063584',NULL);
CREATE INDEX ix_experiment_status ON experiment (status);
CREATE INDEX ix_experiment_job ON experiment (job);
CREATE INDEX ix_experiment_created_at ON experiment (created_at);
CREATE INDEX ix_experiment_updated_at ON experiment (updated_at);
CREATE INDEX ix_experiment_status_created_at ON experiment (status, created_at);
CREATE INDEX ix_experiment_status_updated_at ON experiment (status, updated_at);
CREATE INDEX ix_transition_experiment ON transition (experiment);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('transition',28);
COMMIT;
