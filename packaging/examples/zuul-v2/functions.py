def board(item, job, params):
    """The class of boards that the build runs on. An image could come by LABGEAR_INPUT_APP_URL and LABGEAR_INPUT_APP_SHA256."""
    params['ZUUL_NODE'] = 'esp32'
