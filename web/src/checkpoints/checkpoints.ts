/** The checkpoints of one session, as the API has them: newest first. */
import { API, type Api } from '@/connection/api'
import type { CheckpointList, CheckpointView } from '@/protocol/rest.generated'

export type { CheckpointView }

export interface Checkpoints {
  list(): Promise<readonly CheckpointView[]>
  /** Where its archive is downloaded from. */
  archiveUrl(id: string): string
}

export function checkpointsOf(api: Api, sessionId: string): Checkpoints {
  const path = `/sessions/${encodeURIComponent(sessionId)}/checkpoints`
  return {
    list: async () => (await api.ask<CheckpointList>(path)).checkpoints,
    archiveUrl: (id) => `${API}${path}/${encodeURIComponent(id)}/content`,
  }
}
