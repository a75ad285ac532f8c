/**
 * The shapes that the controller sends (`controller/status_shape.py`), as far as they are shown here.
 *
 * @typedef {object} Node
 * @property {string} name
 * @property {string} host
 * @property {number} port
 * @property {string} role `primary`, `standby` or `unknown`
 * @property {string} state a word such as `* running`
 * @property {string} progress what is being done to it; empty: nothing
 * @property {string} goal_state
 * @property {string} connection
 * @property {?number} timeline
 * @property {?string} lsn
 * @property {?number} lag_bytes
 * @property {?number} replay_lag_bytes
 * @property {?number} lag_s
 * @property {?string} upstream
 * @property {?string} wanted_upstream
 * @property {?string} sync_state
 * @property {?{status: string}} receiver
 * @property {number} priority
 * @property {string} location
 * @property {string[]} tags
 * @property {boolean} maintenance
 * @property {string} detail
 * @property {?number} last_seen_s
 * @property {string[]} pending_restart
 * @property {?string} server_version
 *
 * @typedef {object} Finding
 * @property {string} problem
 * @property {?string} node
 * @property {string[]} evidence
 * @property {string} urgency
 * @property {?number} due_s
 *
 * @typedef {object} Decision
 * @property {string} kind `act`, `hold` or `rest`
 * @property {string} rule
 * @property {string} reason
 * @property {string} hint
 * @property {string[]} steps
 * @property {string[]} evidence
 *
 * @typedef {object} Endpoint what clients connect to
 * @property {string} name
 * @property {string} state `ok`, `moving`, `failed` or `unseen`
 * @property {?string} primary where it leads
 * @property {?string} wanted where it ought to lead
 * @property {string} detail
 * @property {string} hint
 *
 * @typedef {object} Cluster
 * @property {string} cluster
 * @property {string} health
 * @property {number} generation
 * @property {string} phase
 * @property {?string} since
 * @property {?string} primary
 * @property {?number} timeline
 * @property {string} protection
 * @property {?{acks: number, standbys: string[], wanted_acks: number, changing: boolean}} sync
 * @property {boolean} automatic
 * @property {boolean} paused
 * @property {?string} paused_until
 * @property {Decision} decision
 * @property {string[]} repairs
 * @property {string[]} warnings
 * @property {Finding[]} findings
 * @property {Endpoint[]} [endpoints]
 * @property {?string} [controller] who guards it, where several share the fleet
 * @property {Node[]} nodes
 * @property {{number: number, at: string, every_s: ?number, what: string}[]} scheduled
 * @property {string} at
 * @property {boolean} standby_cluster
 * @property {?{name: ?string, primary: ?string}} standby_of
 *
 * @typedef {object} Happening an event of a cluster
 * @property {number} number
 * @property {string} cluster
 * @property {string} at
 * @property {string} kind
 * @property {string} level `info`, `warning` or `alert`
 * @property {?string} node
 * @property {number} generation
 * @property {string} text
 * @property {string[]} evidence
 * @property {string} hint
 *
 * @typedef {object} Outcome what came of a command
 * @property {string} result
 * @property {string} text
 * @property {string} detail
 * @property {string} hint
 * @property {string[]} plan
 */
export {};
