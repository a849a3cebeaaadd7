"""
Past one machine: the service on Ray Serve, and jobs over large files in blocks, in this process or with Ray Data.

service.py and remote_engine.py are the service; blocks.py, job.py, tasks.py and run.py the jobs, which need no Ray;
ray_data.py runs their blocks on a cluster.
"""
